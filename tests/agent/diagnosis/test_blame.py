from __future__ import annotations

from paceline_agent.diagnosis.blame import blamed
from paceline_exporters.diagnosis.findings import Cause, Finding


def slow(rank: int, phase: str, cause: Cause, share: float) -> Finding:
    return Finding("straggler", cause, 1, 2, rank=rank, phase=phase, share=share)


def test_the_phase_that_costs_most_is_named() -> None:
    findings = [
        slow(1, "forward", "compute", 0.1),
        slow(1, "data_wait", "data", 0.2),
        slow(3, "forward", "compute", 0.1),
    ]
    assert blamed(findings, {}) == {1: ("data_wait", "data"), 3: ("forward", "compute")}
    assert (
        blamed([Finding("hang", "unknown", 1, 2, rank=1), Finding("communication", "degraded_nic", 1, 2)], {})
        == {}
    )


def test_what_was_said_stays_while_it_holds() -> None:
    before = {1: ("forward", "throttled_gpu")}
    costlier = [slow(1, "backward", "compute", 0.2), slow(1, "forward", "compute", 0.1)]
    assert blamed(costlier, before) == before
    assert blamed([slow(1, "forward", "noisy_neighbour", 0.1)], before) == {1: ("forward", "noisy_neighbour")}
    assert blamed([slow(1, "backward", "compute", 0.2)], before) == {1: ("backward", "compute")}
    assert blamed([], before) == {}
