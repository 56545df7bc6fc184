"""The mounts source. It is one of its own so that a filesystem that hangs takes only this with it."""

from __future__ import annotations

import os
from pathlib import PurePosixPath

from ...metrics import Family, Samples
from ..contract import World
from . import nfs
from .table import named, parse, watched

MOUNT = ("mountpoint",)
MOST_MOUNTS = 32
"""Of either kind; a node of containers may have thousands."""

SIZE = Family("paceline_filesystem_size_bytes", "Size of the filesystem.", "gauge", "bytes", MOUNT)
AVAILABLE = Family(
    "paceline_filesystem_available_bytes", "Space that unprivileged processes may use.", "gauge", "bytes", MOUNT
)
FILES = Family(
    "paceline_filesystem_files", "Files it can hold; absent where it sets no limit.", "gauge", "", MOUNT
)
FILES_FREE = Family("paceline_filesystem_files_free", "Files that can still be made.", "gauge", "", MOUNT)
READ_ONLY = Family(
    "paceline_filesystem_readonly",
    "1 where it is mounted read-only, as after errors of its disk.",
    "gauge",
    "",
    MOUNT,
)
NFS_READ = Family("paceline_nfs_read_bytes_total", "Bytes read from the server.", "counter", "bytes", MOUNT)
NFS_WRITTEN = Family(
    "paceline_nfs_written_bytes_total", "Bytes written to the server.", "counter", "bytes", MOUNT
)


class MountsSource:
    """What is mounted below the host's root, as the agent's mount namespace has it."""

    name = "mounts"
    period_seconds = 15.0
    deadline_seconds = 5.0
    families = (SIZE, AVAILABLE, FILES, FILES_FREE, READ_ONLY, NFS_READ, NFS_WRITTEN)

    def __init__(self, world: World) -> None:
        self._self = world.procfs / "self"
        self._rootfs = PurePosixPath(world.rootfs)

    def sample(self) -> Samples:
        """Raises OSError where the mount table cannot be read. A filesystem that fails costs itself only."""
        samples = Samples()
        table = parse((self._self / "mountinfo").read_text())
        for name, point in list(watched(table, self._rootfs).items())[:MOST_MOUNTS]:
            try:
                _add_filesystem(samples, name, point)
            except (FileNotFoundError, PermissionError):  # gone meanwhile, or not for this user to see
                continue
            except OSError as error:
                samples.problem = error
        self._add_nfs(samples)
        return samples

    def close(self) -> None:
        """Nothing is held."""

    def _add_nfs(self, samples: Samples) -> None:
        try:
            text = (self._self / "mountstats").read_text()
        except OSError:  # no NFS in this kernel
            return
        seen = set[str]()
        for transfer in nfs.parse(text):
            shown = transfer.point.is_relative_to(self._rootfs) and transfer.export not in seen
            if shown and len(seen) < MOST_MOUNTS:
                seen.add(transfer.export)
                name = named(transfer.point, self._rootfs)
                samples.add(NFS_READ, transfer.read_bytes, name)
                samples.add(NFS_WRITTEN, transfer.written_bytes, name)


def _add_filesystem(samples: Samples, name: str, point: PurePosixPath) -> None:
    found = os.statvfs(point)
    samples.add(SIZE, found.f_blocks * found.f_frsize, name)
    samples.add(AVAILABLE, found.f_bavail * found.f_frsize, name)
    samples.add(FILES, found.f_files or None, name)
    samples.add(FILES_FREE, found.f_ffree if found.f_files else None, name)
    samples.add(READ_ONLY, int(bool(found.f_flag & os.ST_RDONLY)), name)
