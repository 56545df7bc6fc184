from __future__ import annotations

from dataclasses import replace

import pytest
from ring_histories import Story, history, shared

from paceline_exporters.diagnosis.communication import CommunicationWatch
from paceline_exporters.diagnosis.findings import Finding
from paceline_exporters.diagnosis.jobsteps import JobStep


def found(story: Story) -> list[Finding]:
    watch = CommunicationWatch()
    return [finding for step in history(story) for finding in watch.add(step)]


@pytest.mark.parametrize("variable", [False, True], ids=["fixed", "variable"])
def test_slower_communication_is_found_and_nobody_blamed(variable: bool) -> None:
    for seed in range(20):
        (finding,) = found(Story(seed, ranks=2 + seed % 7, fault="communication", variable_lengths=variable))
        assert (finding.kind, finding.cause, finding.rank) == ("communication", "communication", None)
        assert 100 <= finding.found_step <= 106
        assert 0.06 < finding.share < 0.14


@pytest.mark.parametrize("fault", ["", "data_wait", "forward", "backward", "optimizer"])
def test_waiting_for_a_slow_rank_is_not_slow_communication(fault: str) -> None:
    assert [seed for seed in range(20) if found(Story(seed, ranks=2 + seed % 7, fault=fault, by=0.3))] == []


def test_without_backwards_split_ddps_own_times_do() -> None:
    story = Story(5, steps=1500, fault="communication", onset=1200, backward_split=False, by=0.15)
    assert [finding.found_step for finding in found(story)] == [1300]


NOISY = shared(Story(0, ranks=2, steps=1200, step_seconds=0.05, onset=600, by=0.6))


def test_ranks_that_share_cores_are_left_alone() -> None:
    """A wait that jitters, and is half as long again for seconds at a time: 20 runs of a minute."""
    assert [seed for seed in range(20) if found(replace(NOISY, seed=seed))] == []


def test_what_lasts_and_stands_out_is_found_among_noise_too() -> None:
    for seed in range(20):
        (finding,) = found(replace(NOISY, seed=seed, fault="communication"))
        assert 600 <= finding.found_step <= 600 + 25.0 / 0.08, "within 25 s"
        assert 0.2 < finding.share < 0.6
        assert finding.numbers["noise_share"] > 0.02


def test_a_network_that_recovers_is_slow_no_more() -> None:
    for by, noisy in ((0.1, False), (0.6, True)):
        story = replace(NOISY if noisy else Story(0), fault="communication", by=by)
        watch = CommunicationWatch()
        for step in history(story):
            watch.add(step)
        assert watch.current
        for step in history(replace(story, fault="", seed=1)):
            watch.add(JobStep(step.number + story.steps, step.ranks, complete=True))
        assert not watch.current
