"""Throughput over all ranks, or none."""

from __future__ import annotations

import pytest

from paceline_tuner.service.objective import RingSteps, final_value, measure
from paceline_tuner.study.spec import Objective

OBJECTIVE = Objective("throughput", "maximize", warmup_steps=2, measure_steps=4)


def ring(rank, seconds, attempt=0, first=1, samples=4.0, **columns):
    steps = [float(first + index) for index in range(len(seconds))]
    return RingSteps(
        rank, attempt, {"step": steps, "samples": [samples] * len(steps), "step_seconds": seconds, **columns}
    )


def test_a_step_is_as_slow_as_its_slowest_rank():
    found = measure([ring(0, [9.0, 9.0, 1.0, 1.0]), ring(1, [9.0, 9.0, 1.0, 3.0])], 2, OBJECTIVE)
    assert found.aligned_steps == 2
    assert found.value == pytest.approx(16 / 4)


def test_windows_of_one_ring_come_in_pieces():
    whole = measure([ring(0, [1.0] * 6)], 1, OBJECTIVE)
    pieces = measure([ring(0, [1.0] * 3), ring(0, [1.0] * 3, first=4)], 1, OBJECTIVE)
    assert pieces == whole
    assert whole.aligned_steps == 4


def test_ranks_are_aligned_by_step_number():
    late = ring(1, [2.0, 2.0, 2.0], first=4)
    found = measure([ring(0, [1.0] * 6), late], 2, OBJECTIVE)
    assert found.aligned_steps == 3
    assert found.value == pytest.approx(8 / 2)


def test_of_replayed_steps_the_last_attempt_counts():
    first, second = ring(0, [9.0] * 6), ring(0, [1.0] * 3, attempt=1, first=4)
    found = measure([second, first], 1, OBJECTIVE)
    assert found.value == pytest.approx(4 * 4 / (9 + 3))


def test_a_missing_rank_makes_it_partial_and_is_named():
    found = measure([ring(0, [1.0] * 6), ring(2, [1.0] * 6)], 3, OBJECTIVE)
    assert found.value is None
    assert "2 of 3 ranks" in found.reason
    assert "missing: 1" in found.reason


def test_too_few_steps_make_it_partial():
    found = measure([ring(0, [1.0] * 3)], 1, OBJECTIVE)
    assert found.value is None
    assert "only 1 complete steps" in found.reason
    assert found.rate == pytest.approx(4.0)


def test_records_that_are_lost_or_unknown_are_left_out():
    columns = {
        "step": [1.0, 2.0, 3.0, None, 5.0, 6.0],
        "samples": [4.0, 4.0, 4.0, None, None, 4.0],
        "step_seconds": [1.0, 1.0, 1.0, None, 1.0, float("nan")],
    }
    assert measure([RingSteps(0, 0, columns)], 1, OBJECTIVE).aligned_steps == 1


def test_tokens_when_the_study_counts_tokens():
    objective = Objective("throughput", "maximize", unit="tokens", warmup_steps=2, measure_steps=4)
    found = measure([ring(0, [1.0] * 6, tokens=[100.0] * 6)], 1, objective)
    assert found.value == pytest.approx(100.0)
    assert measure([ring(0, [1.0] * 6)], 1, objective).value is None


def test_phases_and_losses_are_means_over_ranks():
    rings = [
        ring(0, [1.0] * 6, forward_seconds=[0.2] * 6, loss=[4.0, 3.0, 3.0, 3.0, 3.0, 2.0]),
        ring(1, [1.0] * 6, forward_seconds=[0.4] * 6, loss=[2.0, 3.0, 3.0, 3.0, 3.0, 1.0]),
    ]
    found = measure(rings, 2, OBJECTIVE)
    assert found.phases["forward_seconds"] == pytest.approx(0.3)
    assert "backward_seconds" not in found.phases
    assert (found.loss_first, found.loss_last) == (3.0, 1.5)


def test_nothing_reported():
    found = measure([], 2, OBJECTIVE)
    assert (found.value, found.rate, found.ranks) == (None, None, [])


def test_final_prefers_the_submitters_word_and_names_what_there_is():
    objective = Objective("final", "minimize", metric="eval_loss", max_steps=10)
    assert final_value(objective, {"eval_loss": 2.0}, {"eval_loss": 3.0})[0] == 2.0
    assert final_value(objective, {}, {"eval_loss": 3.0})[0] == 3.0
    value, reason = final_value(objective, {"eval_accuracy": 0.5}, {"eval_loss": float("nan")})
    assert value is None
    assert "eval_accuracy" in reason
