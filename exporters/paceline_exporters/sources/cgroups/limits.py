"""What a control group may use and has used, in version 1 and version 2.

A process is bound by the limits of its own group and of all above it, and a limit is compared with the usage of
the group that has it. So of memory, and of CPU, the group with the lowest limit on the way up speaks (of equal
ones the innermost); where there is no limit, the process's own.

Files: Documentation/admin-guide/cgroup-v2.rst; admin-guide/cgroup-v1/memory.rst and scheduler/sched-bwc.rst.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

NANOSECONDS = 1_000_000_000
MICROSECONDS = 1_000_000
UNLIMITED = 1 << 62
"""Version 1 has no word for no limit: it shows the highest number of pages."""

Groups = Sequence[Path]
"""The process's own group, then each above it."""
Values = dict[str, float]
"""By name; what is unknown, or unlimited, is left out."""


def memory_2(groups: Groups) -> Values:
    """Of version 2."""
    limit, group = _lowest(groups, lambda group: number(group / "memory.max"))
    return _known(
        memory_limit=limit,
        memory_used=number(group / "memory.current"),
        oom_kills=named(group / "memory.events", "oom_kill"),
    )


def memory_1(groups: Groups) -> Values:
    """Of version 1."""
    limit, group = _lowest(groups, lambda group: _limited(number(group / "memory.limit_in_bytes")))
    return _known(
        memory_limit=limit,
        memory_used=number(group / "memory.usage_in_bytes"),
        oom_kills=named(group / "memory.oom_control", "oom_kill"),
    )


def cpu_2(groups: Groups) -> Values:
    """Of version 2: `cpu.max` is quota and period."""
    limit, group = _lowest(
        groups, lambda group: _ratio(number(group / "cpu.max"), number(group / "cpu.max", word=1))
    )
    throttled = named(group / "cpu.stat", "throttled_usec")
    return _known(cpu_limit=limit, cpu_throttled=_ratio(throttled, MICROSECONDS))


def cpu_1(groups: Groups) -> Values:
    """Of version 1."""
    limit, group = _lowest(
        groups, lambda group: _ratio(number(group / "cpu.cfs_quota_us"), number(group / "cpu.cfs_period_us"))
    )
    throttled = named(group / "cpu.stat", "throttled_time")
    return _known(cpu_limit=limit, cpu_throttled=_ratio(throttled, NANOSECONDS))


# Controller of version 1, or empty for the one hierarchy of version 2.
READERS: Mapping[str, Sequence[Callable[[Groups], Values]]] = {
    "": (memory_2, cpu_2),
    "memory": (memory_1,),
    "cpu": (cpu_1,),
}


def number(path: Path, word: int = 0) -> int | None:
    """One of the file's words; None for `max`, for `-1`, and where it cannot be read."""
    words = _words(path)
    return int(words[word]) if len(words) > word and words[word].isdecimal() else None


def named(path: Path, name: str) -> int | None:
    """The number after a name, in a file of `name number` lines."""
    words = _words(path)
    return int(words[words.index(name) + 1]) if name in words[:-1] else None


def _lowest(groups: Groups, limit: Callable[[Path], float | None]) -> tuple[float | None, Path]:
    limited = [(found, group) for group in groups if (found := limit(group)) is not None]
    return min(limited, key=lambda pair: pair[0], default=(None, groups[0]))


def _limited(value: float | None) -> float | None:
    return value if value is not None and value < UNLIMITED else None


def _ratio(value: float | None, of: float | None) -> float | None:
    return value / of if value is not None and of else None


def _known(**values: float | None) -> Values:
    return {name: value for name, value in values.items() if value is not None}


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:  # a controller that is not enabled there, or a group that is gone
        return []
