"""Counters of steps over restarts of the agent."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline_exporters.attach import layout
from paceline_exporters.sources.contract import World
from paceline_exporters.sources.steps import StepsSource, counted

Agent = Callable[[], StepsSource]


@pytest.fixture
def agent(rings: Path, tmp_path: Path) -> Iterator[Agent]:
    """Starts a source on the same rings and the same state directory."""
    made: list[StepsSource] = []

    def make() -> StepsSource:
        made.append(StepsSource(World(rings=rings, state=tmp_path / "state")))
        return made[-1]

    yield make
    for source in made:
        source.close()


def steps(first: int, stop: int, **values: float) -> list[dict[str, float]]:
    return [{"step": n, "samples": 4, "tokens": 512, "step_seconds": 0.5, **values} for n in range(first, stop)]


def totals(source: StepsSource, rank: str = "0") -> dict[str, Any]:
    points = {family.name.removeprefix("paceline_"): found for family, found in source.sample().points.items()}
    names = ("steps_total", "step_samples_total", "step_seconds_total", "step_records_lost_total")
    return {name: points[name]["run-1", rank] for name in names}


def counted_to(number: int, lost: int = 0) -> dict[str, float]:
    return {
        "steps_total": number,
        "step_samples_total": 4.0 * number,
        "step_seconds_total": 0.5 * number,
        "step_records_lost_total": lost,
    }


def test_an_agent_that_was_stopped_goes_on(trainer: Callable[..., Any], agent: Agent) -> None:
    writer, first = trainer(), agent()
    for begin in range(1, 1001, 500):  # more than an agent reads of a ring that it meets
        writer.steps(*steps(begin, begin + 500))
        first.sample()
    assert totals(first) == counted_to(1000)
    first.close()
    writer.steps(*steps(1001, 1021))
    second = agent()
    assert totals(second) == counted_to(1020)
    writer.steps(*steps(1021, 1031))
    assert totals(second) == counted_to(1030)


def test_one_that_was_killed_counts_what_came_after_it_saved(
    trainer: Callable[..., Any], agent: Agent, tmp_path: Path
) -> None:
    writer, first = trainer(), agent()
    writer.steps(*steps(1, 101))
    assert totals(first) == counted_to(100)
    saved = tmp_path / "state" / "steps.json"
    deadline = time.monotonic() + 60.0
    while not saved.exists():
        assert time.monotonic() < deadline, "never saved"
        time.sleep(0.01)
    writer.steps(*steps(101, 901))
    assert totals(first) == counted_to(900)  # and is killed before it saves that
    assert totals(agent()) == counted_to(900)
    assert totals(agent()) == counted_to(900)  # the second one saved at its first look


def test_what_was_overwritten_meanwhile_is_lost_and_counted_as_that(
    trainer: Callable[..., Any], agent: Agent
) -> None:
    writer, first = trainer(), agent()
    writer.steps(*steps(1, 101))
    first.sample()
    first.close()
    writer.steps(*steps(101, layout.STEP_CAPACITY + 301))
    assert totals(agent()) == counted_to(layout.STEP_CAPACITY + 100, lost=200)


def test_a_rank_that_restarted_meanwhile_goes_on_too(trainer: Callable[..., Any], agent: Agent) -> None:
    writer, first = trainer(), agent()
    writer.steps(*steps(1, 101, allocator_retries=3))
    first.sample()
    first.close()
    writer.kill()
    trainer(attempt=1).steps(*steps(51, 61, allocator_retries=2))
    second = agent()
    assert totals(second) == counted_to(110)
    retries = next(found for family, found in second.sample().points.items() if "retries" in family.name)
    assert retries["run-1", "0"] == 5


def test_another_run_of_the_same_name_begins_at_0(trainer: Callable[..., Any], agent: Agent, rings: Path) -> None:
    writer, first = trainer(), agent()
    writer.steps(*steps(1, 101))
    first.sample()
    first.close()
    writer.kill()
    for path in rings.iterdir():
        path.unlink()
    trainer().steps(*steps(1, 11))
    assert totals(agent()) == counted_to(10)


def test_a_state_that_no_agent_wrote_is_said_and_left(
    trainer: Callable[..., Any], agent: Agent, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = trainer()
    writer.steps(*steps(1, 11))
    (tmp_path / "state").mkdir()
    for document in (
        '{"rings": {"a": 1}}',
        '{"ranks": [["run-1", 0]]}',
        '{"rings": []}',
        '{"rings": {"a": [1e999, 0]}}',
    ):
        (tmp_path / "state" / "steps.json").write_text(document)
        caplog.clear()
        source = agent()
        assert totals(source) == counted_to(10)
        assert "counted anew" in caplog.text
        source.close()  # what it saves is written before the next document


def test_rings_that_could_not_be_seen_for_a_moment_are_not_counted_again(
    trainer: Callable[..., Any], agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, source = trainer(), agent()
    writer.steps(*steps(1, 301))
    writer.event("oom", 300.0)
    assert totals(source) == counted_to(300)

    def fails(_: object) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as failing:
        failing.setattr(os, "scandir", fails)
        source.sample()
    writer.steps(*steps(301, 311))
    assert totals(source) == counted_to(310)
    events = next(
        found for family, found in source.sample().points.items() if family.name.endswith("events_total")
    )
    assert events["run-1", "0", "oom"] == 1


def test_a_disk_that_hangs_keeps_nobody_from_the_steps(
    trainer: Callable[..., Any], agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, syncs = threading.Event(), []

    def hangs(_: int) -> None:
        syncs.append(1)
        free.wait(60)

    monkeypatch.setattr(os, "fsync", hangs)
    monkeypatch.setattr(counted, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(counted, "CLOSE_SECONDS", 60.0)
    writer, source = trainer(), agent()
    for number in range(1, 6):
        writer.steps(*steps(number, number + 1))
        assert totals(source) == counted_to(number)
    assert len(syncs) == 1
    free.set()
    source.close()
    assert totals(agent()) == counted_to(5)


def test_the_last_write_is_waited_for_at_the_end(
    trainer: Callable[..., Any], agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, source, sync = trainer(), agent(), os.fsync

    def is_slow(descriptor: int) -> None:
        time.sleep(0.3)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", is_slow)
    monkeypatch.setattr(counted, "CLOSE_SECONDS", 60.0)
    writer.steps(*steps(1, 11))
    assert totals(source) == counted_to(10)
    source.close()  # nothing came since the first look began to write
    assert (tmp_path / "state" / "steps.json").exists()
