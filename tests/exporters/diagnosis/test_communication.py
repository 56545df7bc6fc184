from __future__ import annotations

import pytest
from ring_histories import Story, history

from paceline_exporters.diagnosis.communication import CommunicationWatch
from paceline_exporters.diagnosis.findings import Finding


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
