"""Inspector's output of one process: found among the files it holds open, read as it grows.

The file is `DIRECTORY/HOST-pidPID.log`. The directory may be relative, in another mount namespace, and shared by
hosts that use the same PIDs: the process's own descriptor is the one name for it that cannot be mistaken.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

LOOK_BYTES = 2**17
"""Read in full per look, the newest: 250 to 570 operations. Of what is before only lines are counted."""
MOST_BYTES = 2**26
"""Gone through per look; what is beyond waits for the next one."""
CHUNK_BYTES = 2**20
MOST_ENVIRONMENT = 2**20

_ENABLED = re.compile(rb"(?:\A|\0)NCCL_INSPECTOR_ENABLE=\s*[+-]?0*[1-9]")
_NAME = re.compile(r"-pid\d+\.log\Z")


def enabled(process: Path) -> bool:
    """Whether a process, by its directory in procfs, was started with Inspector on; False where its environment
    is not to be seen. What it set for itself since is not in there: proc(5).
    """
    try:
        with (process / "environ").open("rb") as file:
            return _ENABLED.search(file.read(MOST_ENVIRONMENT)) is not None
    except OSError:
        return False


def find(process: Path) -> Output | None:
    """Its output, once it is open; None before, and where its descriptors are not to be seen."""
    try:
        with os.scandir(process / "fd") as descriptors:
            for entry in descriptors:
                if _NAME.search(os.readlink(entry.path)):  # noqa: PTH115 - there may be hundreds, each look
                    return _open(entry.path)
    except OSError:  # it ended, or is somebody else's
        return None
    return None


def _open(path: str) -> Output | None:
    # O_NONBLOCK: a FIFO of that name must not hang the reader.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return Output(descriptor)
    os.close(descriptor)
    return None


class Output:
    """One file, from LOOK_BYTES before its end on."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._offset = max(0, os.fstat(descriptor).st_size - LOOK_BYTES)
        self._torn = self._offset > 0

    def take(self) -> tuple[list[bytes], int]:
        """Lines that are new and complete, and how many others were left out. Raises OSError."""
        size = os.fstat(self._descriptor).st_size
        if size < self._offset:  # begun anew
            self._offset, self._torn = 0, False
        stop = min(size, self._offset + MOST_BYTES)
        skipped = self._skip(stop - LOOK_BYTES)
        data = os.pread(self._descriptor, stop - self._offset, self._offset)
        end = data.rfind(b"\n") + 1
        self._offset += end
        lines = data[:end].split(b"\n")[:-1]
        if lines and self._torn:
            self._torn = False
            del lines[0]
        return lines, skipped

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _skip(self, stop: int) -> int:
        """Go on to `stop`; the lines that ended, or were begun, before it."""
        skipped, before = 0, self._offset
        while self._offset < stop:
            chunk = os.pread(self._descriptor, min(CHUNK_BYTES, stop - self._offset), self._offset)
            if not chunk:
                break
            skipped += chunk.count(b"\n")
            self._offset += len(chunk)
            self._torn = not chunk.endswith(b"\n")
        return skipped + (self._torn and self._offset > before)
