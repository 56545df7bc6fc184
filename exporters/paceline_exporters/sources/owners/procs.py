"""Processes by PID, from procfs: their line of parents, their place, their user, a little of their environment.

/proc/PID/stat, status and cgroup are readable by everyone, environ by its user and by root: see proc(5). Reading
environ waits for the process's memory map, which a process that is stuck may hold: it is read once in a life.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from . import cgroups

VARIABLES = frozenset({"SLURM_JOB_ID", "SLURM_STEP_ID", "CUDA_VISIBLE_DEVICES", "LOCAL_RANK"})
MOST_PARENTS = 32
MOST_BYTES = 2**20
"""Read of a file at most: an environment can be of any size."""


@dataclass(frozen=True)
class Process:
    """A process; `pid` and `start` together are never used again."""

    pid: int
    start: int
    """Clock ticks since boot."""
    parent: int
    session: int
    command: str
    """The name the kernel has for it: 15 characters at most."""


@dataclass(frozen=True)
class Facts:
    """What a process keeps for life."""

    uid: str
    """Of its real user; empty where unknown."""
    environment: Mapping[str, str]
    """Of `VARIABLES` those that it was started with; empty where not readable."""


class Procs:
    """Each process is read once per sample, and what it keeps for life once in its life."""

    def __init__(self, procfs: Path) -> None:
        self._procfs = procfs
        self._processes: dict[int, Process | None] = {}
        self._places: dict[Process, cgroups.Place] = {}
        self._facts: dict[Process, Facts] = {}
        self._facts_before: dict[Process, Facts] = {}

    def begin(self) -> None:
        """A new sample: processes are looked at anew; facts that the last one did not need are forgotten."""
        self._processes.clear()
        self._places.clear()
        self._facts_before, self._facts = self._facts, {}

    def get(self, pid: int) -> Process | None:
        """The process; None where there is none, or none to be seen."""
        if pid not in self._processes:
            self._processes[pid] = self._read(pid)
        return self._processes[pid]

    def line(self, process: Process) -> Iterator[Process]:
        """The process, its parent, and so on; where parents are missing or too many, the line ends."""
        for _ in range(MOST_PARENTS):
            yield process
            parent = self.get(process.parent) if process.parent > 0 else None
            # A parent that is younger than its child is another process under the parent's number.
            if parent is None or parent.start > process.start:
                return
            process = parent

    def place(self, process: Process) -> cgroups.Place:
        """Where it runs now; empty where unknown."""
        if process not in self._places:
            self._places[process] = cgroups.parse(self._text(process.pid, "cgroup"))
        return self._places[process]

    def facts(self, process: Process) -> Facts:
        """Its user and environment."""
        facts = self._facts.get(process) or self._facts_before.get(process) or self._read_facts(process)
        self._facts[process] = facts
        return facts

    def _read(self, pid: int) -> Process | None:
        head, _, tail = self._text(pid, "stat").rpartition(")")
        fields = tail.split()
        if len(fields) < 20:
            return None
        return Process(pid, int(fields[19]), int(fields[1]), int(fields[3]), head.partition("(")[2])

    def _read_facts(self, process: Process) -> Facts:
        lines = self._text(process.pid, "status").splitlines()
        uid = next((line.split()[1] for line in lines if line.startswith("Uid:")), "")
        pairs = (text.partition("=") for text in self._text(process.pid, "environ").split("\0"))
        return Facts(uid, {name: value for name, _, value in pairs if name in VARIABLES})

    def _text(self, pid: int, name: str) -> str:
        """Empty where the process ended or is not ours to read: both are everyday."""
        try:
            with (self._procfs / str(pid) / name).open("rb") as file:
                return file.read(MOST_BYTES).decode(errors="replace")
        except OSError:
            return ""


class _Listed(Protocol):
    @property
    def pid(self) -> int | None: ...


Entry = TypeVar("Entry", bound=_Listed)


class Sightings:
    """Which process each entry of a listing means: the one that had its PID when the listing was first seen.
    Whoever has it later, while the listing is the same, only got the number."""

    def __init__(self) -> None:
        self._listing: object = None
        self._starts: dict[int, int] = {}
        self._seen: set[int] = set()
        """PIDs of the listing that have been seen alive, in it or in those before."""
        self._seen_before: set[int] = set()

    def living(self, procs: Procs, listing: Sequence[Entry]) -> list[tuple[Entry, Process | None]]:
        """The entries, each with its process; None for one that is not to be seen. Left out are entries whose
        process was seen before and is gone: the listing is late."""
        if listing is not self._listing:
            self._listing = listing
            self._starts.clear()
            self._seen_before, self._seen = self._seen, set()
        found = [(entry, self._process(procs, entry.pid)) for entry in listing]
        return [(entry, process) for entry, process in found if process or entry.pid not in self._seen]

    def _process(self, procs: Procs, pid: int | None) -> Process | None:
        if pid is None:
            return None
        process = procs.get(pid)
        if process is not None and self._starts.setdefault(pid, process.start) != process.start:
            process = None
        if process is not None or pid in self._seen_before:
            self._seen.add(pid)
        return process
