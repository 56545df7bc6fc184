"""The mount table: /proc/self/mountinfo (proc_pid_mountinfo(5)). Reading it asks no server anything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

LOCAL = frozenset({"btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "xfs", "zfs"})
"""On disks of this machine: those that are asked how full they are."""
HARMLESS = frozenset({"devtmpfs", "ramfs", "rootfs", "squashfs", "tmpfs", "vfat"})
"""Of no interest, but safe to walk through. What is neither may be a network's, where asking about any path may
wait for the server for ever."""
SHARED_MEMORY = "dev/shm"
"""Also asked: what data loaders and NCCL share lies there, and a full one kills them."""
_ROOT = PurePosixPath("/")
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """A line of the table."""

    filesystem: str
    """Number of its device: two mounts of one filesystem have the same."""
    point: PurePosixPath
    type: str


def parse(text: str) -> Iterator[Mount]:
    """The lines of mountinfo; those that are not as expected are skipped."""
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        fields, behind = before.split(), after.split()
        if dash and len(fields) >= 5 and behind:
            yield Mount(fields[2], PurePosixPath(plain(fields[4])), behind[0])


def watched(mounts: Iterable[Mount], rootfs: PurePosixPath) -> dict[str, PurePosixPath]:
    """Where to ask, by the path as the host names it: each local filesystem below `rootfs` once, by the shortest
    path; none that is hidden under another mount, or can be reached only through what may hang."""
    on_top = {mount.point: mount for mount in mounts}
    # Without the root itself nothing works anyway, also on nodes that boot from a network.
    hazards = {mount.point for mount in on_top.values() if mount.type not in LOCAL | HARMLESS} - {rootfs, _ROOT}
    shared_memory = rootfs / SHARED_MEMORY
    found: dict[str, PurePosixPath] = {}
    for point in sorted(on_top, key=lambda point: (len(point.parts), point)):
        mount = on_top[point]
        wanted = mount.type in LOCAL or point == shared_memory
        if wanted and point.is_relative_to(rootfs) and hazards.isdisjoint(point.parents):
            found.setdefault(mount.filesystem, point)
    return {named(point, rootfs): point for point in found.values()}


def named(point: PurePosixPath, rootfs: PurePosixPath) -> str:
    """A path below `rootfs` as the host names it."""
    return str(_ROOT / point.relative_to(rootfs))


def plain(text: str) -> str:
    """Blanks and backslashes are written as three octal digits."""
    return _OCTAL.sub(lambda digits: chr(int(digits[1], 8)), text)
