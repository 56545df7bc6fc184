from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from paceline_agent.supervise.rings import OwnRings
from paceline_agent.supervise.summary import summarize
from paceline_exporters.attach import layout
from paceline_exporters.attach.recorder import Recorder

STEP = {
    "step_seconds": 0.5,
    "samples": 4.0,
    "data_wait_seconds": 0.1,
    "sync_wait_seconds": 0.05,
    "forward_seconds": 0.1,
    "backward_seconds": 0.2,
    "optimizer_seconds": 0.025,
    "other_seconds": 0.025,
}
Summarize = Callable[..., Sequence[str]]


@pytest.fixture
def summary(rings: Path) -> Iterator[Summarize]:
    opened: list[OwnRings] = []

    def of(*ranks: Sequence[Mapping[str, float]]) -> Sequence[str]:
        for rank, steps in enumerate(ranks):
            recorder = Recorder(rings, {"run_id": "r", "rank": rank, "supervisor": "t"})
            for values in steps:
                recorder.step([values.get(name, math.nan) for name in layout.STEP_FIELDS])
        opened.append(OwnRings(rings, "t"))
        return summarize(opened[-1].last_attempt())

    yield of
    for one in opened:
        one.close()


def test_a_run_in_two_lines_without_its_first_step(summary: Summarize) -> None:
    slow = {**STEP, "step_seconds": 60.0}
    assert summary([slow, STEP, STEP, STEP], [slow, STEP, STEP, STEP]) == [
        "r: 2 ranks, 3 steps, median step 0.5 s, 16 samples/s",
        "of a step: data wait 20%, sync wait 10%, forward 20%, backward 40%, optimizer 5%, other 5%",
    ]


@pytest.mark.parametrize("steps", [[], [{}], [{}, {}], [{"step_seconds": 0.0}, {"step_seconds": 0.0}]])
def test_steps_that_say_nothing_are_survived(summary: Summarize, steps: list[dict[str, float]]) -> None:
    assert len(summary(steps, [])) == (2 if steps else 0)


def test_a_single_step_is_better_than_none(summary: Summarize) -> None:
    assert summary([STEP])[0] == "r: 1 rank, 1 step, median step 0.5 s, 8 samples/s"


def test_a_rate_that_is_unknown_is_left_out(summary: Summarize) -> None:
    assert summary([{**STEP, "samples": math.nan}] * 2)[0] == "r: 1 rank, 1 step, median step 0.5 s"


def test_more_steps_than_the_ring_holds(summary: Summarize) -> None:
    assert summary([STEP] * (layout.STEP_CAPACITY + 9))[0].startswith(
        f"r: 1 rank, {layout.STEP_CAPACITY - 1} steps"
    )
