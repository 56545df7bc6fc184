from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline_exporters.diagnosis.jobsteps import FAR_STEPS, PATIENCE_STEPS, Alignment, JobStep


@given(st.integers(1, 5), st.integers(0, 40), st.randoms(use_true_random=False))
def test_steps_come_in_order_however_ranks_report(world: int, steps: int, rng: random.Random) -> None:
    alignment, left, given_steps = Alignment(world), dict.fromkeys(range(world), 0), []
    while any(done < steps for done in left.values()):
        rank = rng.choice([rank for rank, done in left.items() if done < steps])
        left[rank] += 1
        alignment.add(rank, {"step": float(left[rank])})
        given_steps += list(alignment.ready())
    assert [step.number for step in given_steps] == list(range(1, steps + 1))
    assert all(step.complete and len(step.ranks) == world for step in given_steps)


def test_a_rank_that_never_reports_is_not_waited_for_for_ever() -> None:
    alignment = Alignment(2)
    for number in range(1, PATIENCE_STEPS + 2):
        alignment.add(0, {"step": float(number)})
    (first,) = alignment.ready()
    assert (first.number, first.complete, set(first.ranks)) == (1, False, {0})


def test_a_record_that_comes_too_late_or_has_no_number_is_left_out() -> None:
    alignment = Alignment(1)
    alignment.add(0, {"step": 5.0})
    assert [step.number for step in alignment.ready()] == [5]
    alignment.add(0, {"step": 5.0})
    alignment.add(0, {"loss": 1.0})
    assert list(alignment.ready()) == []


def aligned(numbers: Iterable[Mapping[int, int]]) -> list[JobStep]:
    """Steps given of four ranks that report these numbers, one of each rank at a time."""
    alignment, given_steps = Alignment(4), []
    for row in numbers:
        for rank, number in row.items():
            alignment.add(rank, {"step": float(number)})
            given_steps += list(alignment.ready())
    return given_steps


def test_ranks_that_begin_anew_are_followed_from_their_first_step_again() -> None:
    numbers = [*range(1, 201), *range(1, 151)]
    steps = aligned(dict.fromkeys(range(4), number) for number in numbers)
    assert [one.number for one in steps] == numbers
    assert sum(one.complete for one in steps) >= len(numbers) - 1


def test_one_rank_that_goes_back_is_no_beginning() -> None:
    steps = aligned(
        {rank: 5 if (rank, number) == (2, 100) else number for rank in range(4)} for number in range(1, 201)
    )
    assert [one.number for one in steps] == list(range(1, 201))
    assert [one.number for one in steps if not one.complete] == [100]


@pytest.mark.parametrize("rank", range(4))
def test_a_number_far_ahead_of_all_others_costs_its_step_only(rank: int) -> None:
    steps = aligned(
        {one: number + 10**6 * ((one, number) == (rank, 100)) for one in range(4)} for number in range(1, 201)
    )
    assert [one.number for one in steps] == list(range(1, 201))
    assert [one.number for one in steps if not one.complete] == [100]


@pytest.mark.parametrize("ahead", [1, 70, 2 * FAR_STEPS, 10**6])
@pytest.mark.parametrize("rank", range(4))
def test_a_rank_that_always_counts_more_steps_does_not_hide_the_others(rank: int, ahead: int) -> None:
    steps = aligned({one: number + ahead * (one == rank) for one in range(4)} for number in range(1, 401))
    others = [one.number for one in steps if set(range(4)) - {rank} <= set(one.ranks)]
    assert others[-1] >= 400 - FAR_STEPS
    assert len(others) >= others[-1] - FAR_STEPS


def test_a_jump_of_all_ranks_is_followed() -> None:
    numbers = [*range(1, 201), *range(100_201, 100_401)]
    steps = aligned(dict.fromkeys(range(4), number) for number in numbers)
    assert [one.number for one in steps] == numbers
    assert all(one.complete for one in steps)


def test_where_all_others_are_silent_one_rank_is_followed() -> None:
    steps = aligned({rank: number for rank in range(4) if rank == 0 or number <= 100} for number in range(1, 601))
    assert steps[-1].number >= 600 - 3 * PATIENCE_STEPS
