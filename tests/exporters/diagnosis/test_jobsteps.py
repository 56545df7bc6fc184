from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from paceline_exporters.diagnosis.jobsteps import PATIENCE_STEPS, Alignment


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
