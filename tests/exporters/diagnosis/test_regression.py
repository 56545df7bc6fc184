from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable

import pytest
from ring_histories import Story, history

from paceline_exporters.diagnosis.findings import Finding
from paceline_exporters.diagnosis.jobsteps import JobStep
from paceline_exporters.diagnosis.regression import RegressionWatch


def found(story: Story) -> list[Finding]:
    watch = RegressionWatch()
    return [finding for step in history(story) for finding in watch.add(step)]


@pytest.mark.parametrize("fault", ["forward", "communication"])
def test_a_job_that_became_slower_is_found_once(fault: str) -> None:
    for seed in range(20):
        (finding,) = found(Story(seed, steps=600, fault=fault, onset=200))
        assert finding.kind == "regression"
        assert 192 <= finding.since_step <= 216
        assert 0.05 < finding.share < 0.15


@pytest.mark.parametrize("variable", [False, True], ids=["fixed", "variable"])
def test_a_job_that_goes_on_as_it_was_is_left_alone(variable: bool) -> None:
    alarms = [seed for seed in range(30) if found(Story(seed, steps=600, variable_lengths=variable))]
    assert len(alarms) <= (2 if variable else 0), alarms


def run(lengths: Iterable[float]) -> tuple[list[Finding], RegressionWatch]:
    """A job of steps as long as that, three of warming up before."""
    watch = RegressionWatch()
    steps = (
        JobStep(number, {0: {"step_seconds": seconds}}, complete=True)
        for number, seconds in enumerate([9.0] * 3 + list(lengths))
    )
    return [finding for step in steps for finding in watch.add(step)], watch


def test_a_regression_holds_while_it_lasts() -> None:
    before, slower = [0.1] * 100, [0.125] * 50
    (finding,), watch = run(before + slower)
    assert finding.share == pytest.approx(0.2, abs=0.01)
    assert watch.current == {finding.since_step: pytest.approx(0.2)}
    (_,), watch = run(before + slower + [0.1] * 30)
    assert watch.current == {}


def test_a_new_normal_is_still_slower_than_the_old_one() -> None:
    before, slower = [0.1] * 100, [0.125] * 400
    (finding,), watch = run(before + slower)
    assert watch.normal_seconds == pytest.approx(0.125)
    assert watch.current == {finding.since_step: pytest.approx(0.2)}
    findings, watch = run(before + slower + [0.16] * 50)
    assert [one.numbers["normal_seconds"] for one in findings] == pytest.approx([0.1, 0.125])
    assert list(watch.current.values()) == pytest.approx([1 - 0.1 / 0.16, 1 - 0.125 / 0.16])
    findings, watch = run(before + slower + [0.16] * 50 + [0.125] * 30)
    assert list(watch.current) == [findings[0].since_step]


def test_what_was_over_and_comes_back_is_told_again() -> None:
    findings, watch = run(([0.1] * 100 + [0.125] * 300) * 2)
    assert [one.numbers["normal_seconds"] for one in findings] == pytest.approx([0.1, 0.1])
    assert list(watch.current) == [findings[1].since_step]


def lengths_tell(length: Callable[[random.Random, int], float], seed: int, cost: float = 0.0) -> list[Finding]:
    """Steps of two ranks, as long as the longest batch asks for: linear, with a share that is quadratic."""
    watch, rng, findings = RegressionWatch(), random.Random(seed), []
    for number in range(1, 801):
        batches = [length(rng, number) for _ in range(2)]
        seconds = max((1 - cost) * one + cost * one * one for one in batches) * 0.2 + 0.02 + rng.gauss(0.0, 0.002)
        ranks = {rank: {"step_seconds": seconds, "tokens": 4096 * one} for rank, one in enumerate(batches)}
        findings += watch.add(JobStep(number, ranks, complete=True))
    return findings


@pytest.mark.parametrize(
    "length",
    [
        lambda rng, number: min(4.0, math.exp(rng.gauss(-0.18, 0.6))),
        lambda rng, number: 1.0 if number < 300 else 2.0,
        lambda rng, number: (0.5 + number / 800) * rng.uniform(0.8, 1.2),
    ],
    ids=["lognormal", "doubled", "growing"],
)
def test_steps_of_longer_batches_are_no_regression(length: Callable[[random.Random, int], float]) -> None:
    assert [seed for seed in range(10) if lengths_tell(length, seed)] == []


def test_what_longer_batches_cost_beyond_their_tokens_is_told_as_that() -> None:
    for seed in range(10):
        growing = lengths_tell(lambda rng, number: (0.5 + number / 800) * rng.uniform(0.8, 1.2), seed, cost=0.6)
        assert {one.cause for one in growing} <= {"longer_batches"}
