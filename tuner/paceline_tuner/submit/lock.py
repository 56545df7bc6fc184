"""One submitter a study directory: a second one would start the same runs on the same machine."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InUse(Exception):
    """Another submitter works in the study's directory; the text says what to do."""


@contextmanager
def alone_in(root: Path) -> Iterator[None]:
    """Hold the directory `root` for a block; raises InUse. The kernel drops the lock however we end."""
    root.mkdir(parents=True, exist_ok=True)
    lock = os.open(root / "submitter.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        _take(lock, root)
        yield
    finally:
        os.close(lock)


def _take(lock: int, root: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        raise InUse(
            f"process {owner} works on the study in {root} already: let it go on, or end it first; "
            "another study takes another --directory"
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
