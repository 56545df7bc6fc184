"""Bytes that each NFS mount transferred: /proc/self/mountstats (fs/nfs/super.c in the Linux source)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from .table import plain

_DEVICE = re.compile(r"device (\S+) mounted on (\S+) with fstype (nfs4?)\b")
# Of eight: bytes that applications read and wrote, buffered and direct; then those that servers sent and got.
_SERVER_READ, _SERVER_WRITTEN = 5, 6


@dataclass(frozen=True)
class Transfer:
    """Of one mount."""

    export: str
    """`server:/path`; mounts of one export share their counters."""
    point: PurePosixPath
    read_bytes: int
    written_bytes: int


def parse(text: str) -> Iterator[Transfer]:
    """The NFS mounts of mountstats. Raises ValueError for counts that are none."""
    mount: re.Match[str] | None = None
    for line in text.splitlines():
        if line.startswith("device "):
            mount = _DEVICE.match(line)
        elif mount is not None and line.lstrip().startswith("bytes:"):
            counts = line.split()
            if len(counts) > _SERVER_WRITTEN:
                point = PurePosixPath(plain(mount[2]))
                yield Transfer(plain(mount[1]), point, int(counts[_SERVER_READ]), int(counts[_SERVER_WRITTEN]))
