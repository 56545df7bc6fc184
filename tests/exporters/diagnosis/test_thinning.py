from __future__ import annotations

import pytest

from paceline_exporters.diagnosis.jobsteps import PATIENCE_STEPS, JobStep
from paceline_exporters.diagnosis.run import RunDiagnosis
from paceline_exporters.diagnosis.thinning import LEARNING_STEPS, MOST, Thinning, one_in


def step(number: int, seconds: float) -> JobStep:
    return JobStep(number, {rank: {"step_seconds": seconds} for rank in range(2)}, True)


def learnt(seconds: float) -> Thinning:
    thinning = Thinning()
    for number in range(1, LEARNING_STEPS + 1):
        assert not thinning.skips({"step": number})
        thinning.learn(step(number, seconds))
    return thinning


@pytest.mark.parametrize(
    ("seconds", "every"),
    [(1.0, 1), (0.13, 1), (0.12, 2), (0.1, 2), (0.07, 2), (0.05, 4), (0.025, 8), (0.001, MOST)],
)
def test_four_steps_a_second_are_looked_at(seconds: float, every: int) -> None:
    assert one_in(seconds) == every


def test_steps_that_some_rank_may_have_told_already_are_not_left_out() -> None:
    thinning = learnt(0.05)
    first = LEARNING_STEPS + PATIENCE_STEPS
    looked_at = [number for number in range(LEARNING_STEPS, first + 400) if not thinning.skips({"step": number})]
    assert looked_at[:PATIENCE_STEPS] == list(range(LEARNING_STEPS, first))
    assert [number // 4 for number in looked_at[PATIENCE_STEPS:]] == list(range(first // 4, first // 4 + 100))


@pytest.mark.parametrize("period", [4, 8, 16, 50])
@pytest.mark.parametrize("phase", [0, 1, 3])
def test_what_happens_each_so_many_steps_is_met_as_often_as_it_happens(period: int, phase: int) -> None:
    thinning = learnt(0.02)
    looked_at = [number for number in range(1000, 41000) if not thinning.skips({"step": number})]
    assert len(looked_at) == 40000 / 8
    met = sum(number % period == phase for number in looked_at) / len(looked_at)
    assert met == pytest.approx(1 / period, rel=0.25)


def test_steps_with_ddps_own_times_are_looked_at() -> None:
    thinning = learnt(0.05)
    skipped = [number for number in range(1001, 1005) if thinning.skips({"step": number})]
    assert len(skipped) == 3
    assert not any(thinning.skips({"step": number, "ddp_compute_seconds": 0.01}) for number in skipped)


def test_a_job_that_becomes_slow_is_looked_at_step_by_step() -> None:
    thinning = learnt(0.05)
    for number in range(1000, 1000 + LEARNING_STEPS):
        thinning.learn(step(number, 0.5))
    assert not thinning.skips({"step": 1000 + LEARNING_STEPS + PATIENCE_STEPS + 1})


def test_steps_of_unknown_length_are_all_looked_at() -> None:
    thinning = Thinning()
    for number in range(3 * LEARNING_STEPS):
        thinning.learn(JobStep(number, {0: {"tokens": 1.0}}, True))
    assert not thinning.skips({"step": 1001})


def test_no_step_is_waited_for_when_steps_begin_to_be_left_out() -> None:
    """Rank 1 comes late with each record: what rank 0 told before the change is told by both."""
    diagnosis = RunDiagnosis(2)
    for number in range(1, 401):
        diagnosis.add(0, {"step": number + 3, "step_seconds": 0.05})
        diagnosis.add(1, {"step": number, "step_seconds": 0.05})
    numbers = [one.number for one in diagnosis.latest]
    assert numbers[-1] >= 397
    assert all(one.complete for one in diagnosis.latest)
    assert [number // 4 for number in numbers[-19:]] == list(range(numbers[-1] // 4 - 18, numbers[-1] // 4 + 1))
