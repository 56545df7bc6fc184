"""Where a process's control groups are in the mounted hierarchies (cgroups(7), cgroup_namespaces(7))."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DEEPEST = 12
MOST_GROUPS = 10_000
"""Directories that are looked at, once, to find this process's own."""


@dataclass(frozen=True)
class Membership:
    """A line of /proc/PID/cgroup."""

    controllers: frozenset[str]
    """Empty for version 2."""
    path: str
    """As this process sees it: relative to the root of its own cgroup namespace, above it with `..`."""


def memberships(text: str) -> Iterator[Membership]:
    """Parses /proc/PID/cgroup: `number:controllers:path`, a line each."""
    for line in text.splitlines():
        fields = line.split(":", 2)
        if len(fields) == 3:
            yield Membership(frozenset(filter(None, fields[1].split(","))), fields[2])


class Hierarchy:
    """One mounted hierarchy."""

    def __init__(self, mount: Path, own: str) -> None:
        """`own`: the path of this process in it."""
        self._mount = mount
        self._own = own
        self._root: Path | None = None

    def groups(self, path: str) -> list[Path]:
        """The group at the path, then each above it; empty where it is not there."""
        if self._root is None:
            self._root = self._namespace_root()
        group = Path(os.path.normpath(self._root / path.lstrip("/")))
        if not group.is_relative_to(self._mount) or not group.is_dir():
            return []
        return [group, *(parent for parent in group.parents if parent.is_relative_to(self._mount))]

    def _namespace_root(self) -> Path:
        """What the kernel's paths start from: the mount; but where that is the host's and this process lives in a
        cgroup namespace of its own, as in a container, a group in it, found by this process's own."""
        inner = self._own.strip("/")
        if _has_us(self._mount / inner):
            return self._mount
        group = next(filter(_has_us, self._walk()), None)
        if group is None:
            return self._mount
        steps = len(Path(inner).parts)
        return group.parents[steps - 1] if steps else group

    def _walk(self) -> Iterator[Path]:
        pending, seen = [(self._mount, 0)], 0
        while pending and seen < MOST_GROUPS:
            group, depth = pending.pop()
            seen += 1
            yield group
            if depth < DEEPEST:
                pending += [(path, depth + 1) for path in _below(group)]


def _below(group: Path) -> list[Path]:
    try:
        with os.scandir(group) as entries:
            return [group / entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:  # it is gone
        return []


def _has_us(group: Path) -> bool:
    """The kernel translates the process ids to the reader's namespace."""
    try:
        return str(os.getpid()) in (group / "cgroup.procs").read_text().split()
    except OSError:
        return False
