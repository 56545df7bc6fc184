"""From what the timings say to the cause: a finding is compared with what the nodes saw at the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from .evidence import Evidence, remarkable
from .findings import Cause, Finding

# Evidence that explains slow work of one rank; the first that is remarkable names the cause.
OF_WORK: Sequence[tuple[str, Cause]] = (
    ("gpu_throttled_ratio", "throttled_gpu"),
    ("gpu_foreign_processes", "noisy_neighbour"),
    ("cpu_steal_ratio", "noisy_neighbour"),
    ("cpu_pressure_ratio", "noisy_neighbour"),
    ("memory_pressure_ratio", "noisy_neighbour"),
)
# Evidence that explains slow communication, and on whose node.
OF_COMMUNICATION = ("ports_down", "nic_errors_per_second", "nic_pause_ratio", "tcp_retransmits_per_second")


def explained(finding: Finding, evidence: Mapping[int, Evidence]) -> Finding:
    """The finding with its cause as the evidence has it, and that evidence among its numbers."""
    if finding.kind == "straggler" and finding.rank is not None:
        return _straggler(finding, finding.rank, evidence)
    if finding.kind in ("communication", "regression"):
        return _on_the_network(finding, evidence)
    return finding


def _straggler(finding: Finding, rank: int, evidence: Mapping[int, Evidence]) -> Finding:
    seen = remarkable(rank, evidence)
    cause: Cause = finding.cause
    if finding.phase != "data_wait":
        cause = next((cause for name, cause in OF_WORK if name in seen), cause)
    return replace(finding, cause=cause, numbers={**finding.numbers, **seen})


def _on_the_network(finding: Finding, evidence: Mapping[int, Evidence]) -> Finding:
    """The rank whose node has the worst of the first kind of evidence that any node has."""
    for name in OF_COMMUNICATION:
        seen = {rank: found[name] for rank in evidence if name in (found := remarkable(rank, evidence))}
        if seen:
            rank = max(sorted(seen), key=seen.__getitem__)
            numbers = {**finding.numbers, **remarkable(rank, evidence)}
            return replace(finding, cause="degraded_nic", rank=rank, numbers=numbers)
    return finding
