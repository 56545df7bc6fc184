from __future__ import annotations

import math
import random
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ring_histories import Story, history

from paceline_exporters.diagnosis.findings import Finding
from paceline_exporters.diagnosis.jobsteps import JobStep
from paceline_exporters.diagnosis.straggler import StragglerWatch, beyond_others

CASES = 25
"""Generated histories per case; the benchmark takes 300."""


def stories(fault: str, **more: object) -> list[Story]:
    made = []
    for seed in range(CASES):
        rng = random.Random(seed)
        ranks = rng.randint(2, 8)
        made.append(
            Story(
                seed,
                ranks=ranks,
                steps=200,
                step_seconds=rng.choice([0.05, 0.1, 0.2, 0.5, 1.0]),
                fault=fault,
                slow_rank=rng.randrange(ranks),
                onset=rng.randint(40, 120),
                **more,  # type: ignore[arg-type] # fields of Story
            )
        )
    return made


def found(story: Story) -> list[Finding]:
    watch = StragglerWatch()
    return [finding for step in history(story) for finding in watch.add(step)]


@pytest.mark.parametrize("variable", [False, True], ids=["fixed", "variable"])
@pytest.mark.parametrize("phase", ["data_wait", "forward", "backward", "optimizer"])
def test_a_rank_that_costs_a_tenth_is_found_with_its_phase_and_soon(phase: str, variable: bool) -> None:
    late = 0
    for story in stories(phase, variable_lengths=variable):
        first, *more = found(story)
        assert (first.rank, first.phase) == (story.slow_rank, phase), story
        assert first.cause == ("data" if phase == "data_wait" else "compute")
        assert all(finding.rank == story.slow_rank for finding in more), story
        assert 0.05 < first.share < 0.2
        assert abs(first.since_step - story.onset) <= 5
        late += first.found_step - story.onset + 1 > max(5, math.ceil(2 / story.step_seconds))
    assert late <= 1


@pytest.mark.parametrize("variable", [False, True], ids=["fixed", "variable"])
@pytest.mark.parametrize("fault", ["", "communication"])
def test_no_rank_is_blamed_where_none_is_slow(fault: str, variable: bool) -> None:
    assert [story for story in stories(fault, variable_lengths=variable) if found(story)] == []


def test_a_device_that_is_slow_in_all_phases_is_found_as_soon_and_costs_their_sum() -> None:
    late = 0
    for story in stories("compute"):
        first, *more = found(story)
        assert all(finding.rank == story.slow_rank for finding in (first, *more)), story
        assert first.phase in ("forward", "backward", "optimizer")
        assert first.cause == "compute"
        assert 0.07 < first.share < 0.2
        late += first.found_step - story.onset + 1 > max(5, math.ceil(2 / story.step_seconds))
    assert late <= 2
    (finding,) = found(Story(1, fault="compute", slow_rank=1, by=0.3))
    assert finding.share == pytest.approx(0.3 / 1.3, abs=0.03)
    parts = [finding.numbers[f"{phase}_share"] for phase in ("forward", "backward")]
    assert sum(parts) == pytest.approx(finding.share, rel=0.2)
    assert parts[0] < parts[1]


@pytest.mark.parametrize("hiccup", [0, 1, 2])
def test_a_hiccup_elsewhere_is_not_taken_for_what_a_slow_device_costs(hiccup: int) -> None:
    """In one of its first slow steps the device also waits for something else, for longer than it is slow."""
    for seed in range(20):
        story = Story(seed, ranks=4, fault="compute", slow_rank=2, step_seconds=0.5, onset=60, hiccups=0.0)
        watch = StragglerWatch()
        findings = []
        for step in history(story):
            if step.number == story.onset + hiccup:
                slow = step.ranks[2]
                late = {name: slow[name] + 0.1 for name in ("other_seconds", "step_seconds")}
                step = JobStep(step.number, {**step.ranks, 2: {**slow, **late}}, complete=True)
            findings += watch.add(step)
        assert {one.rank for one in findings} == {2}, seed
        assert findings[0].phase in ("forward", "backward", "optimizer"), seed


@pytest.mark.parametrize("every", [2, 3, 4, 8])
def test_a_rank_that_stalls_in_one_step_of_several_is_found_within_blocks(every: int) -> None:
    for seed in range(10):
        story = Story(
            seed, ranks=2 + seed % 7, fault="data_wait", slow_rank=1, by=0.2, every=every, onset=100, steps=300
        )
        first, *more = found(story)
        assert all((one.rank, one.phase, one.cause) == (1, "data_wait", "data") for one in (first, *more))
        assert first.found_step <= 100 + 3 * 32
        assert first.share == pytest.approx(0.2 / 1.2, abs=0.06)


@pytest.mark.parametrize("phase", ["data_wait", "optimizer", "other"])
def test_who_waits_for_a_slow_rank_in_forward_is_not_blamed(phase: str) -> None:
    for seed in range(20):
        story = Story(seed, ranks=2 + seed % 4, fault=phase, slow_rank=1, by=0.2, meets_in_forward=True)
        findings = found(story)
        assert {(one.rank, one.phase) for one in findings} == {(1, phase)}, seed


def test_where_ranks_wait_for_each_other_and_the_order_says_nothing_nobody_is_blamed() -> None:
    watch = StragglerWatch()
    for number in range(1, 100):
        slow = 0.05 * (number > 30)
        ranks = {
            0: {"step_seconds": 0.3, "backward_compute_seconds": 0.1 + slow, "optimizer_seconds": 0.1},
            1: {"step_seconds": 0.3, "backward_compute_seconds": 0.1, "optimizer_seconds": 0.1 + slow},
        }
        assert watch.add(JobStep(number, ranks, complete=True)) == []


def test_what_costs_little_is_not_told() -> None:
    stories_of_a_twentieth = [Story(seed, steps=1000, fault="backward", by=0.05) for seed in range(20)]
    assert sum(bool(found(story)) for story in stories_of_a_twentieth) <= 1


@pytest.mark.parametrize("rate", [0.02, 0.05, 0.1])
def test_hiccups_that_coincide_are_no_straggler(rate: float) -> None:
    """However often they come: some rank has three in a row every few hundred steps."""
    alarms = [seed for seed in range(20) if found(Story(seed, ranks=2 + seed % 7, steps=600, hiccups=rate))]
    assert alarms == []


def test_a_straggler_among_hiccups_is_found_later() -> None:
    for seed in range(20):
        story = Story(seed, ranks=2 + seed % 7, hiccups=0.05, fault="forward", slow_rank=1, onset=100)
        first, *more = found(story)
        assert all(one.rank == 1 for one in (first, *more))
        assert 103 <= first.found_step <= 130


@pytest.mark.parametrize("fault", ["", "forward"])
def test_where_everything_jitters_only_what_stands_out_and_lasts_is_found(fault: str) -> None:
    for seed in range(10):
        story = Story(
            seed,
            ranks=2 + seed % 3,
            steps=1000,
            step_seconds=0.05,
            noise=0.25,
            fault=fault,
            slow_rank=1,
            onset=500,
            by=0.6,
        )
        findings = found(story)
        assert {(one.rank, one.phase) for one in findings} == ({(1, "forward")} if fault else set()), seed
        assert all(500 <= one.found_step <= 500 + 25.0 / 0.08 for one in findings), "within 25 s"


def test_backward_is_found_from_ddps_own_times_where_nothing_else_splits_it() -> None:
    story = Story(3, ranks=4, steps=500, fault="backward", slow_rank=2, onset=50, backward_split=False, by=0.15)
    (finding,) = found(story)
    assert (finding.rank, finding.phase, finding.found_step) == (2, "backward", 200)


def test_a_straggler_that_recovers_is_one_no_more() -> None:
    watch = StragglerWatch()
    for step in history(Story(1, steps=150, fault="forward", slow_rank=1, onset=100)):
        watch.add(step)
    assert [(rank, phase) for rank, phase, _ in watch.current()] == [(1, "forward")]
    for step in history(Story(2, steps=60)):
        watch.add(type(step)(step.number + 150, step.ranks, True))
    assert watch.current() == []


def test_a_step_that_compiled_is_not_looked_at() -> None:
    watch = StragglerWatch()
    for step in history(Story(1, steps=150, fault="forward", slow_rank=1, onset=100)):
        ranks = {rank: {**values, "compile_seconds": 0.1} for rank, values in step.ranks.items()}
        assert watch.add(type(step)(step.number, ranks, True)) == []


def test_one_rank_has_no_peers() -> None:
    assert found(Story(1, ranks=1, fault="forward")) == []


@given(st.dictionaries(st.integers(0, 20), st.floats(-1e6, 1e6), min_size=2, max_size=12))
def test_excess_is_over_the_median_of_the_others(values: dict[int, float]) -> None:
    for rank, excess in beyond_others(values):
        assert excess == values[rank] - median(value for other, value in values.items() if other != rank)


def test_a_rank_whose_batches_are_longer_is_told_as_that() -> None:
    (finding,) = found(Story(1, longer_rank=2))
    assert (finding.rank, finding.cause) == (2, "longer_batches")
    assert {one.cause for one in found(Story(1, fault="backward", slow_rank=1))} == {"compute"}
