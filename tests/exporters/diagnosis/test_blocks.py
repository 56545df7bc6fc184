from __future__ import annotations

import pytest

from paceline_exporters.diagnosis.blocks import BLOCK_SECONDS, MOST_STEPS, Blocks
from paceline_exporters.diagnosis.jobsteps import JobStep


def step(number: int, seconds: float, **values: float) -> JobStep:
    return JobStep(number, {rank: {"step_seconds": seconds, **values} for rank in range(2)}, True)


def test_a_long_step_stands_alone() -> None:
    one = step(7, BLOCK_SECONDS)
    assert Blocks().add(one) is one


def test_short_steps_are_averaged_until_they_are_long() -> None:
    blocks = Blocks()
    assert blocks.add(step(1, 0.015, tokens=10.0)) is None
    assert blocks.add(step(2, 0.015, tokens=20.0, ddp_compute_seconds=0.1)) is None
    block = blocks.add(step(3, 0.015, tokens=30.0))
    assert block is not None and block.number == 3
    assert block.ranks[1] == pytest.approx({"step_seconds": 0.015, "tokens": 20.0, "ddp_compute_seconds": 0.1})
    assert blocks.add(step(4, 0.015)) is None


def test_only_ranks_that_are_in_every_step_are_compared() -> None:
    blocks = Blocks()
    blocks.add(step(1, 0.025))
    block = blocks.add(JobStep(2, {1: {"step_seconds": 0.025}}, False))
    assert block is not None and set(block.ranks) == {1} and not block.complete


def test_steps_of_unknown_length_do_not_wait_for_ever() -> None:
    blocks = Blocks()
    given = [blocks.add(JobStep(number, {0: {"tokens": 1.0}}, True)) for number in range(MOST_STEPS)]
    assert [one is not None for one in given] == [False] * (MOST_STEPS - 1) + [True]
