from __future__ import annotations

from statistics import quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ring_histories import Story, history

from paceline_exporters.diagnosis.endings import Ending
from paceline_exporters.diagnosis.hang import (
    BETWEEN_SECONDS,
    ELSEWHERE_SECONDS,
    FIRST_SECONDS,
    LEAST_SECONDS,
    UNKNOWN_SECONDS,
    UNSAID_SECONDS,
    HangWatch,
    Progress,
    percentile_99,
)

LATEST = list(history(Story(1, steps=100, step_seconds=0.5)))
SLOW = list(history(Story(1, steps=100, step_seconds=20.0)))


def everyone(phase: str, seconds: float, step: int = 100) -> dict[int, Progress]:
    return {rank: Progress(step, phase, seconds) for rank in range(4)}


@pytest.mark.parametrize("phase", ["data_wait", "forward", "backward", "optimizer", ""])
def test_a_fast_job_stands_still_after_ten_seconds(phase: str) -> None:
    watch = HangWatch()
    assert watch.look(everyone(phase, LEAST_SECONDS), LATEST, everyone=True) is None
    finding = watch.look(everyone(phase, LEAST_SECONDS + 0.5), LATEST, everyone=True)
    assert finding is not None
    assert (finding.kind, finding.phase, finding.rank, finding.since_step) == ("hang", phase, None, 101)


def test_a_slow_phase_has_five_times_its_p99() -> None:
    backward = [values["backward_seconds"] for step in SLOW for values in step.ranks.values()]
    limit = 5 * sorted(backward)[int(0.99 * len(backward))]
    assert 50 < limit < 90
    assert HangWatch().look(everyone("backward", limit - 1), SLOW, everyone=True) is None
    assert HangWatch().look(everyone("backward", limit + 1), SLOW, everyone=True) is not None


def test_the_rank_that_is_least_far_is_named() -> None:
    ranks = everyone("backward", 30.0) | {2: Progress(100, "data_wait", 30.0)}
    finding = HangWatch().look(ranks, LATEST, everyone=True)
    assert finding is not None
    assert (finding.rank, finding.phase) == (2, "data_wait")


def test_who_waits_for_a_checkpoint_does_not_hang() -> None:
    watch = HangWatch()
    for _ in range(3):
        watch.learn({"checkpoint_seconds": 40.0})
    ranks = everyone("backward", 60.0) | {0: Progress(100, "checkpoint", 60.0)}
    assert watch.look(ranks, LATEST, everyone=True) is None
    ranks[0] = Progress(100, "checkpoint", 201.0)
    finding = watch.look(ranks, LATEST, everyone=True)
    assert finding is not None and finding.rank == 0


def between_steps(seconds: float, *records: dict[str, float]) -> bool:
    """Whether a run that had these steps stands still after so long between two."""
    watch = HangWatch()
    for values in records:
        watch.learn(values)
    return watch.look(everyone("pause", seconds), LATEST, everyone=True) is not None


NO_PAUSE = {"pause_seconds": 0.0, "other_seconds": 0.01, "data_wait_seconds": 0.01, "forward_seconds": 0.1}


def test_between_steps_there_is_time_for_what_nobody_told_apart() -> None:
    steps = [NO_PAUSE] * 300
    assert not between_steps(BETWEEN_SECONDS - 1, *steps)
    assert between_steps(BETWEEN_SECONDS + 1, *steps)


@pytest.mark.parametrize("field", ["pause_seconds", "other_seconds"])
def test_what_took_longer_between_steps_is_learnt_and_not_forgotten(field: str) -> None:
    steps = [{**NO_PAUSE, field: 40.0}, *[NO_PAUSE] * 300]
    assert not between_steps(199.0, *steps)
    assert between_steps(201.0, *steps)


def test_without_a_loader_the_forward_pass_is_between_steps() -> None:
    assert not between_steps(150.0, *[{"pause_seconds": 0.0, "other_seconds": 0.0, "forward_seconds": 40.0}] * 9)
    assert between_steps(150.0, *[{**NO_PAUSE, "forward_seconds": 40.0}] * 9)


@pytest.mark.parametrize(("phase", "steps"), [("evaluation", LATEST), ("forward", [])])
def test_what_never_ended_before_has_a_long_time(phase: str, steps: list[object]) -> None:
    watch = HangWatch()
    assert watch.look(everyone(phase, UNKNOWN_SECONDS - 1), steps, everyone=True) is None  # type: ignore[arg-type]
    assert watch.look(everyone(phase, UNKNOWN_SECONDS + 1), steps, everyone=True) is not None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("phase", "limit"),
    [
        ("", UNSAID_SECONDS),
        ("data_wait", FIRST_SECONDS),
        ("forward", FIRST_SECONDS),
        ("backward", UNKNOWN_SECONDS),
    ],
)
def test_a_first_step_has_a_long_time(phase: str, limit: float) -> None:
    watch = HangWatch()
    assert watch.look(everyone(phase, limit - 1, step=0), [], everyone=True) is None
    finding = watch.look(everyone(phase, limit + 1, step=0), [], everyone=True)
    assert finding is not None
    assert (finding.since_step, finding.phase, finding.rank) == (1, phase, None)


@pytest.mark.parametrize("phase", ["", "data_wait", "forward"])
def test_in_the_first_step_a_rank_has_less_time_where_the_others_are_past_it(phase: str) -> None:
    def ranks(seconds: float, others_took: float) -> dict[int, Progress]:
        late = Progress(0, phase, seconds)
        return everyone("backward", seconds - others_took, step=0) | {2: late}

    assert HangWatch().look(ranks(59.0, 1.0), [], everyone=True) is None
    finding = HangWatch().look(ranks(61.0, 1.0), [], everyone=True)
    assert finding is not None
    assert (finding.rank, finding.phase) == (2, phase)
    assert HangWatch().look(ranks(99.0, 20.0), [], everyone=True) is None  # five times what the others took
    assert HangWatch().look(ranks(101.0, 20.0), [], everyone=True) is not None


def test_a_rank_that_is_restarted_alone_has_all_the_time_of_a_first_step() -> None:
    ranks = everyone("backward", 500.0, step=300) | {2: Progress(0, "forward", FIRST_SECONDS - 1)}
    assert HangWatch().look(ranks, LATEST, everyone=True) is None


def test_who_evaluates_before_the_first_step_has_the_time_of_an_evaluation() -> None:
    ranks = everyone("backward", 200.0, step=0) | {0: Progress(0, "evaluation", 250.0)}
    assert HangWatch().look(ranks, [], everyone=True) is None


def test_waiting_for_ranks_that_are_not_seen_takes_longer() -> None:
    watch = HangWatch()
    assert watch.look(everyone("backward", ELSEWHERE_SECONDS - 1), LATEST, everyone=False) is None
    assert watch.look(everyone("backward", ELSEWHERE_SECONDS + 1), LATEST, everyone=False) is not None
    assert HangWatch().look(everyone("data_wait", LEAST_SECONDS + 1), LATEST, everyone=False) is not None


def test_a_rank_that_was_killed_is_the_one_waited_for() -> None:
    others = {rank: place for rank, place in everyone("backward", 11.0).items() if rank != 2}
    watch = HangWatch()
    finding = watch.look(others, LATEST, everyone=True, gone={2: Ending(100)})
    assert finding is not None
    assert (finding.rank, finding.phase, finding.numbers["limit_seconds"]) == (2, "backward", LEAST_SECONDS)
    assert watch.look(others, LATEST, everyone=True, gone={2: Ending(100)}) is None


def test_at_the_end_of_a_run_one_rank_may_still_work() -> None:
    watch = HangWatch()
    finished = {rank: Ending(100, "finished") for rank in range(1, 4)}
    last = {0: Progress(100, "pause", UNKNOWN_SECONDS - 1)}
    assert watch.look(last, LATEST, everyone=True, gone=finished) is None
    finding = watch.look({0: Progress(100, "backward", 11.0)}, LATEST, everyone=True, gone=finished)
    assert finding is not None and finding.rank == 1  # the others ran out of data


def test_in_the_first_step_nobody_waits_long_for_a_rank_that_was_killed() -> None:
    others = {0: Progress(0, "backward", ELSEWHERE_SECONDS + 1)}
    assert HangWatch().look(others, [], everyone=True) is None
    assert HangWatch().look(others, [], everyone=True, gone={1: Ending(0)}) is not None


def test_a_standstill_is_told_once_and_the_next_again() -> None:
    watch = HangWatch()
    assert watch.look(everyone("forward", 20.0), LATEST, everyone=True) is not None
    assert watch.look(everyone("forward", 40.0), LATEST, everyone=True) is None
    assert watch.look(everyone("forward", 0.1, step=140), LATEST, everyone=True) is None
    assert watch.look(everyone("forward", 20.0, step=141), LATEST, everyone=True) is not None
    assert watch.look({}, LATEST, everyone=True) is None


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=300))
def test_the_percentile_is_between_the_last_two_of_a_hundred(values: list[float]) -> None:
    found = percentile_99(values)
    assert found is not None
    assert sum(value > found for value in values) <= 0.01 * len(values)
    assert found >= quantiles(values, n=100, method="inclusive")[97] - 1e-6
    assert percentile_99([]) is None
