"""The cgroups source."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from ...metrics import Family, FamilyType, Samples
from ..contract import World
from .hierarchy import Hierarchy, Membership, memberships
from .limits import READERS, Values
from .remembered import Ranks

# Name of a value -> end of the family's name, help, type, unit
_MEANINGS: Mapping[str, tuple[str, str, FamilyType, str]] = {
    "memory_limit": ("memory_limit_bytes", "Memory that {whose} control groups allow it.", "gauge", "bytes"),
    "memory_used": ("memory_used_bytes", "Memory used of that limit, page cache included.", "gauge", "bytes"),
    "oom_kills": ("oom_kills_total", "Processes killed at that limit for want of memory.", "counter", ""),
    "cpu_limit": ("cpu_limit", "CPUs' worth of time that {whose} control groups allow it.", "gauge", ""),
    "cpu_throttled": (
        "cpu_throttled_seconds_total",
        "Time that tasks were kept from running at that limit, of all together.",
        "counter",
        "seconds",
    ),
}


def _families(prefix: str, whose: str, labels: tuple[str, ...]) -> dict[str, Family]:
    return {
        value: Family(f"paceline_{prefix}_{end}", text.format(whose=whose), kind, unit, labels)
        for value, (end, text, kind, unit) in _MEANINGS.items()
    }


OF_RANK = _families("cgroup", "the rank's", ("run_id", "rank"))
OF_AGENT = _families("agent_cgroup", "the agent's", ())


class CgroupsSource:
    """Follows the processes of ranks, and the agent's own, to their control groups. Of a rank that ended, what
    its group counted is shown for as long as the steps source shows the rank: a rank that was killed for want of
    memory is named by that."""

    name = "cgroups"
    period_seconds = 5.0
    deadline_seconds = 2.5
    families = (*OF_RANK.values(), *OF_AGENT.values())

    def __init__(self, world: World, keep_ended_seconds: float = 300.0) -> None:
        self._ranks = Ranks(keep_ended_seconds)
        self._board = world.board
        self._procfs = world.procfs
        self._cgroupfs = world.sysfs / "fs/cgroup"
        self._hierarchies: dict[str, Hierarchy] = {}

    def sample(self) -> Samples:
        """A rank whose process cannot be seen from here has no series."""
        samples = Samples()
        _add(samples, OF_AGENT, self._values(self._text("self")))
        now = time.monotonic()
        for seat in self._board.seats or ():
            text = "" if seat.pid is None else self._text(str(seat.pid))
            if text:
                self._ranks.see((seat.run_id, seat.rank), text, now)
        by_text: dict[str, Values] = {}
        for key, rank in self._ranks.known(now):
            # The ranks of a container share a group: it is read once, and they agree.
            if rank.text not in by_text:
                by_text[rank.text] = self._values(rank.text)
            rank.values = by_text[rank.text] or rank.values
            _add(samples, OF_RANK, rank.values if rank.seen == now else _counted(rank.values), *key)
        return samples

    def close(self) -> None:
        """Nothing is held."""

    def _text(self, pid: str) -> str:
        try:
            return (self._procfs / pid / "cgroup").read_text()
        except OSError:  # it has ended, or procfs hides it
            return ""

    def _values(self, text: str) -> Values:
        values: Values = {}
        for membership in memberships(text):
            for controller in _wanted(membership):
                groups = self._hierarchy(controller).groups(membership.path)
                if groups:
                    for reader in READERS[controller]:
                        values |= reader(groups)
        return values

    def _hierarchy(self, controller: str) -> Hierarchy:
        if controller not in self._hierarchies:
            own = (one.path for one in memberships(self._text("self")) if controller in _wanted(one))
            self._hierarchies[controller] = Hierarchy(self._mount(controller), next(own, "/"))
        return self._hierarchies[controller]

    def _mount(self, controller: str) -> Path:
        """Version 2 alone is mounted at the top; beside version 1, in a directory of its own."""
        if controller:
            return self._cgroupfs / controller
        unified = self._cgroupfs / "unified"
        return unified if unified.is_dir() else self._cgroupfs


def _wanted(membership: Membership) -> Iterator[str]:
    """Those of READERS that the hierarchy is for."""
    if not membership.controllers:
        yield ""
    yield from sorted(membership.controllers & READERS.keys())


def _counted(values: Values) -> Values:
    """Without limits and usage, which are nobody's once the rank ended."""
    return {name: value for name, value in values.items() if OF_RANK[name].type == "counter"}


def _add(samples: Samples, families: Mapping[str, Family], values: Values, *labels: str) -> None:
    for name, value in values.items():
        samples.add(families[name], value, *labels)
