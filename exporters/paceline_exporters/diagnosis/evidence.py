"""What a node saw while a rank's steps were slow, and how much of it is out of the ordinary.

Evidence travels with each window, per rank: what concerns its GPU, and what concerns its node.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from statistics import median

Evidence = Mapping[str, float]
"""Keys of `MEANING` to numbers; what nobody sampled is not in it."""

MEANING: Mapping[str, str] = {
    "gpu_throttled_ratio": "share of the time in which heat or a power brake slowed the rank's GPU",
    "gpu_power_capped_ratio": "share of the time at the power limit; normal under full load",
    "gpu_utilization_ratio": "share of the time in which the rank's GPU ran a kernel",
    "gpu_power_ratio": "power drawn, of the limit",
    "gpu_foreign_processes": "processes on the rank's GPU that belong to no rank",
    "nic_errors_per_second": "link errors, retransmissions and discards of the node's RDMA ports",
    "nic_congestion_per_second": "congestion notifications and ECN marks of the node's RDMA ports",
    "nic_pause_ratio": "share of the time in which a port of the node was paused by its peer",
    "nic_bytes_per_second": "bytes received and sent by the node's RDMA ports",
    "ports_down": "RDMA ports of the node that were up and are not",
    "tcp_retransmits_per_second": "TCP segments that the node sent again and the receiver had not got yet",
    "cpu_pressure_ratio": "share of the time in which some task of the node waited for a CPU",
    "memory_pressure_ratio": "share of the time in which some task of the node waited for memory",
    "io_pressure_ratio": "share of the time in which some task of the node waited for storage",
    "cpu_steal_ratio": "share of the CPUs' time that the hypervisor gave to others",
}
# Evidence -> least amount that counts, and least distance to the median of the other ranks.
REMARKABLE: Mapping[str, tuple[float, float]] = {
    "gpu_throttled_ratio": (0.05, 0.05),
    "gpu_foreign_processes": (1.0, 1.0),
    "nic_errors_per_second": (1.0, 1.0),
    "nic_pause_ratio": (0.05, 0.05),
    "ports_down": (1.0, 1.0),
    "tcp_retransmits_per_second": (10.0, 10.0),
    "cpu_pressure_ratio": (0.3, 0.2),
    "memory_pressure_ratio": (0.1, 0.1),
    "io_pressure_ratio": (0.3, 0.2),
    "cpu_steal_ratio": (0.05, 0.05),
}


# The same for what says something only when it changed: least amount, and least distance to its own value before.
CHANGED: Mapping[str, tuple[float, float]] = {
    **REMARKABLE,
    "gpu_power_capped_ratio": (0.3, 0.3),
    "nic_congestion_per_second": (100.0, 100.0),
}
TIMES = 3.0
"""Rates vary: one that changed is so many times what it was."""
KEPT = 32
"""Snapshots per rank, of what its node saw before."""
KEEP_STEPS = 16
"""Between two of them."""
USUAL = 8
"""Snapshots that say what was usual before a step."""


def remarkable(rank: int, evidence: Mapping[int, Evidence]) -> dict[str, float]:
    """What sets this rank's GPU or node apart from the other ranks'."""
    found = {}
    for name, (least, beyond) in REMARKABLE.items():
        value = evidence.get(rank, {}).get(name, 0.0)
        others = [one.get(name, 0.0) for other, one in evidence.items() if other != rank]
        if value >= least and (not others or value - median(others) >= beyond):
            found[name] = value
    return found


class Past:
    """What each rank's node saw so far, kept often enough to know what was usual some hundred steps ago."""

    def __init__(self) -> None:
        self._kept: dict[int, deque[tuple[int, Evidence]]] = {}

    def keep(self, rank: int, step: int, evidence: Evidence) -> None:
        """Seen when the run was at that step."""
        kept = self._kept.setdefault(rank, deque(maxlen=KEPT))
        if not kept or not 0 <= step - kept[-1][0] < KEEP_STEPS:
            kept.append((step, evidence))

    def before(self, step: int) -> dict[int, Evidence]:
        """By rank what was usual before that step; a rank of which nothing is known from then is not in it."""
        found: dict[int, Evidence] = {}
        for rank, kept in self._kept.items():
            seen = [one for number, one in kept if number < step][-USUAL:]
            if seen:
                found[rank] = {name: median(_known(seen, name)) for name in seen[-1]}
        return found


def changed(now: Evidence, before: Evidence) -> dict[str, float]:
    """Of what a node sees now, what it did not see before."""
    found = {}
    for name, (least, beyond) in CHANGED.items():
        value, usual = now.get(name, 0.0), before.get(name, 0.0)
        grown = value >= TIMES * usual if name.endswith("_per_second") else value - usual >= beyond
        if value >= least and grown:
            found[name] = value
    return found


def _known(seen: Iterable[Evidence], name: str) -> list[float]:
    return [one[name] for one in seen if name in one]
