"""Files of procfs that are read over and over: opened once, read from the start each time."""

from __future__ import annotations

import os
from pathlib import Path

CHUNK = 1 << 16


class Files:
    """Descriptors that are kept, below one root."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._descriptors: dict[str, int] = {}

    def read(self, name: str) -> bytes:
        """The whole file. Raises OSError; the next read then opens it anew."""
        descriptor = self._descriptors.get(name)
        if descriptor is None:
            descriptor = self._descriptors[name] = os.open(self._root / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _whole(descriptor)
        except OSError:
            os.close(self._descriptors.pop(name))
            raise

    def read_network(self, name: str) -> bytes:
        """A file of `net`. Raises OSError.

        Below procfs, `net` is the network namespace of whoever reads. That of process 1 is the host's wherever
        its procfs is mounted, also for an agent in a container with a network of its own; where process 1 is
        hidden, the reader's is taken.
        """
        try:
            return self.read(f"1/net/{name}")
        except (FileNotFoundError, PermissionError):
            return self.read(f"net/{name}")

    def close(self) -> None:
        """Close all."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])


def _whole(descriptor: int) -> bytes:
    """The kernel may hand out a page at a time; only nothing more is the end."""
    data = os.pread(descriptor, CHUNK, 0)
    while more := os.pread(descriptor, CHUNK, len(data)):
        data += more
    return data
