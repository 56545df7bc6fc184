"""The nccl source."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ...metrics import Family, Samples
from ..contract import World
from .operations import Operation, Unreadable, parse
from .output import Output, enabled, find

KEEP_SECONDS = 300.0
"""What a rank that ended did is shown for so long."""
OPERATION = ("run_id", "rank", "collective", "size")
LOST_REASONS = ("overwritten", "skipped", "unreadable")

COUNT = Family(
    "paceline_nccl_collectives_total",
    "Collectives, sends and receives that ended on the rank, by the least size their message fits.",
    "counter",
    "",
    OPERATION,
)
SECONDS = Family(
    "paceline_nccl_collective_seconds_total",
    "Time that their kernels ran on the rank's GPU.",
    "counter",
    "seconds",
    OPERATION,
)
BYTES = Family(
    "paceline_nccl_collective_bytes_total",
    "Size of the rank's own messages in them; for AllGather and ReduceScatter one rank's part.",
    "counter",
    "bytes",
    OPERATION,
)
BANDWIDTH = Family(
    "paceline_nccl_bus_bandwidth_bytes_per_second",
    "Bus bandwidth as nccl-tests defines it, of the latest operations of the kind, each weighted by its time.",
    "gauge",
    "",
    ("run_id", "rank", "collective"),
)
LOST = Family(
    "paceline_nccl_operations_lost_total",
    "Operations that are in none of these: overwritten in NCCL Inspector's ring, skipped because its file grew "
    "faster than it is read, or unreadable.",
    "counter",
    "",
    ("run_id", "rank", "reason"),
)


@dataclass
class Sums:
    """Of the operations of one kind."""

    count: int = 0
    seconds: float = 0.0
    bytes: float = 0.0


@dataclass
class Tally:
    """What one rank did, over all its processes that were seen."""

    sums: dict[tuple[str, str], Sums] = field(default_factory=dict)
    """By collective and size."""
    bandwidth: dict[str, float] = field(default_factory=dict)
    """Bytes per second by collective."""
    lost: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LOST_REASONS, 0))
    seen: float = 0.0
    """Monotonic seconds: when the rank was last there."""

    def take(self, output: Output) -> None:
        """Count what is new. Raises OSError."""
        lines, skipped = output.take()
        self.lost["skipped"] += skipped
        moved: dict[str, tuple[float, float]] = {}
        for line in lines:
            try:
                found = parse(line)
            except Unreadable:
                self.lost["unreadable"] += 1
                continue
            if isinstance(found, Operation):
                self._count(found, moved)
            else:
                self.lost["overwritten"] += found
        self.bandwidth |= {name: size / seconds for name, (size, seconds) in moved.items()}

    def _count(self, operation: Operation, moved: dict[str, tuple[float, float]]) -> None:
        sums = self.sums.setdefault((operation.collective, operation.size), Sums())
        sums.count += 1
        sums.seconds += operation.seconds
        sums.bytes += operation.bytes
        if operation.bus_bandwidth and operation.seconds:
            size, seconds = moved.get(operation.collective, (0.0, 0.0))
            size += operation.bus_bandwidth * operation.seconds
            moved[operation.collective] = (size, seconds + operation.seconds)


class Member(NamedTuple):
    """A rank's process."""

    run_id: str
    rank: str
    pid: int


class NcclSource:
    """Follows the output of each rank's process that has Inspector on."""

    name = "nccl"
    period_seconds = 5.0
    deadline_seconds = 2.5
    families = (COUNT, SECONDS, BYTES, BANDWIDTH, LOST)

    def __init__(self, world: World) -> None:
        self._board = world.board
        self._procfs = world.procfs
        self._enabled: dict[Member, bool] = {}
        self._outputs: dict[Member, Output] = {}
        self._tallies: dict[tuple[str, str], Tally] = {}

    def sample(self) -> Samples:
        """A rank whose process cannot be seen, or has Inspector off, has no series."""
        now = time.monotonic()
        seats = self._board.seats or ()
        members = [Member(seat.run_id, seat.rank, seat.pid) for seat in seats if seat.pid is not None]
        before = self._enabled
        self._enabled = {one: before[one] if one in before else enabled(self._process(one)) for one in members}
        for member, is_enabled in self._enabled.items():
            if is_enabled and member not in self._outputs:
                self._meet(member)
        for member, output in list(self._outputs.items()):
            self._follow(member, output, now)
        self._tallies = {key: tally for key, tally in self._tallies.items() if now < tally.seen + KEEP_SECONDS}
        return self._render()

    def close(self) -> None:
        """Close the files."""
        for output in self._outputs.values():
            output.close()
        self._outputs.clear()

    def _process(self, member: Member) -> Path:
        return self._procfs / str(member.pid)

    def _meet(self, member: Member) -> None:
        output = find(self._process(member))
        if output is not None:
            self._outputs[member] = output
            self._tallies.setdefault((member.run_id, member.rank), Tally())

    def _follow(self, member: Member, output: Output, now: float) -> None:
        """The output of a process that is gone is read once more."""
        tally = self._tallies[member.run_id, member.rank]
        try:
            tally.take(output)
            tally.seen = now
        except OSError:  # its file system fails: it is left alone
            self._enabled[member] = False
        if not self._enabled.get(member, False):
            self._outputs.pop(member).close()

    def _render(self) -> Samples:
        samples = Samples()
        for key, tally in sorted(self._tallies.items()):
            for kind, sums in sorted(tally.sums.items()):
                samples.add(COUNT, sums.count, *key, *kind)
                samples.add(SECONDS, sums.seconds, *key, *kind)
                samples.add(BYTES, sums.bytes, *key, *kind)
            for collective, bandwidth in tally.bandwidth.items():
                samples.add(BANDWIDTH, bandwidth, *key, collective)
            for reason, count in tally.lost.items():
                samples.add(LOST, count, *key, reason)
        return samples


def create(world: World) -> NcclSource:
    """The source of this package."""
    return NcclSource(world)
