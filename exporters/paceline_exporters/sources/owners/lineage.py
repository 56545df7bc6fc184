"""Which rank a process belongs to: the rank itself, what it started, or the one process that started only it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..board import Seat
from .procs import Process, Procs


@dataclass(frozen=True)
class Seated:
    """A rank, and its process where that is to be seen."""

    seat: Seat
    process: Process | None

    @property
    def key(self) -> tuple[str, str]:
        """Run and rank."""
        return (self.seat.run_id, self.seat.rank)

    @property
    def order(self) -> tuple[str, int, str]:
        """Ranks in the order of their numbers, run by run."""
        rank = self.seat.rank
        return (self.seat.run_id, int(rank) if rank.isdecimal() else -1, rank)


class Lineage:
    """The families of all ranks of the node."""

    def __init__(self, procs: Procs, ranks: Iterable[Seated]) -> None:
        self._procs = procs
        self._by_pid = {rank.process.pid: rank for rank in ranks if rank.process is not None}

    def rank_of(self, process: Process) -> Seated | None:
        """The rank that the process is, or descends from; else the only one that descends from it within its
        session (a launcher's ranks are several, or have sessions of their own)."""
        for ancestor in self._procs.line(process):
            if ancestor.pid in self._by_pid:
                return self._by_pid[ancestor.pid]
        heirs = [rank for rank in self._by_pid.values() if rank.process and self._led(rank.process, process)]
        return heirs[0] if len(heirs) == 1 else None

    def _led(self, heir: Process, leader: Process) -> bool:
        return heir.session == leader.session and leader in self._procs.line(heir)
