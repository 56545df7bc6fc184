"""From what the timings say to the cause: a finding is compared with what the nodes saw at the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from .evidence import Evidence, changed, remarkable
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
# Evidence that explains why all steps became slower, where it changed at the time.
OF_CHANGE: Sequence[tuple[str, Cause]] = (
    ("gpu_throttled_ratio", "throttled_gpu"),
    *((name, "degraded_nic") for name in OF_COMMUNICATION),
    ("nic_congestion_per_second", "congested_network"),
    ("gpu_power_capped_ratio", "power_capped_gpu"),
    *OF_WORK[1:],
    ("io_pressure_ratio", "noisy_neighbour"),
)
OF_SLOWER_COMMUNICATION: Sequence[tuple[str, Cause]] = (
    *((name, "degraded_nic") for name in OF_COMMUNICATION),
    ("nic_congestion_per_second", "congested_network"),
)


def explained(
    finding: Finding,
    evidence: Mapping[int, Evidence],
    before: Mapping[int, Evidence] | None = None,
    nodes: Mapping[int, str] | None = None,
) -> Finding:
    """The finding with its cause as the evidence has it, and that evidence among its numbers.

    `before`: what was usual before it, where that is known; `nodes`: where ranks run.
    """
    if finding.kind == "straggler" and finding.rank is not None:
        return _straggler(finding, finding.rank, evidence)
    if finding.kind not in ("communication", "regression") or finding.cause == "longer_batches":
        return finding
    told = _changed(finding, _of_nodes(evidence, nodes or {}), before or {})
    return told or _on_the_network(finding, _of_nodes(evidence, nodes or {}))


def _straggler(finding: Finding, rank: int, evidence: Mapping[int, Evidence]) -> Finding:
    seen = remarkable(rank, evidence)
    cause: Cause = finding.cause
    if finding.phase != "data_wait" and cause != "longer_batches":
        cause = next((cause for name, cause in OF_WORK if name in seen), cause)
    return replace(finding, cause=cause, numbers={**finding.numbers, **seen})


def _of_nodes(evidence: Mapping[int, Evidence], nodes: Mapping[int, str]) -> dict[int, Evidence]:
    """By the lowest rank of each node the largest that its ranks have: GPUs differ, the rest is the node's."""
    found: dict[str, tuple[int, dict[str, float]]] = {}
    for rank in sorted(evidence):
        _, seen = found.setdefault(nodes.get(rank) or f"rank {rank}", (rank, {}))
        for name, value in evidence[rank].items():
            seen[name] = max(value, seen.get(name, value))
    return dict(found.values())


def _changed(
    finding: Finding, evidence: Mapping[int, Evidence], before: Mapping[int, Evidence]
) -> Finding | None:
    """With all that changed on any node, and the rank where the cause did most, unless it did on most nodes."""
    news = {rank: changed(seen, before[rank]) for rank, seen in evidence.items() if rank in before}
    table = OF_CHANGE if finding.kind == "regression" else OF_SLOWER_COMMUNICATION
    for name, cause in table:
        where = {rank: seen[name] for rank, seen in news.items() if name in seen}
        if where:
            most = len(where) > 1 and 2 * len(where) > len(evidence)
            rank = None if most else max(sorted(where), key=where.__getitem__)
            seen = {key: value for one in news.values() for key, value in sorted(one.items(), key=lambda i: i[1])}
            return replace(finding, cause=cause, rank=rank, numbers={**finding.numbers, **seen})
    return None


def _on_the_network(finding: Finding, evidence: Mapping[int, Evidence]) -> Finding:
    """The rank whose node has the worst of the first kind of evidence that any node has."""
    for name in OF_COMMUNICATION:
        seen = {rank: found[name] for rank in evidence if name in (found := remarkable(rank, evidence))}
        if seen:
            rank = max(sorted(seen), key=seen.__getitem__)
            numbers = {**finding.numbers, **remarkable(rank, evidence)}
            return replace(finding, cause="degraded_nic", rank=rank, numbers=numbers)
    return finding
