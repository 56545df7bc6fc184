"""A run's processes, by what stands in their environment: torchrun's workers have sessions of their own."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def marked(mark: bytes) -> list[int]:
    """Processes, this one left out, whose initial environment holds `mark`; others' are not readable to a user.

    The environment is NUL-terminated strings (proc(5), /proc/pid/environ): end `mark` with a NUL to match a whole
    value and not the beginning of one.
    """
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                if mark in (entry / "environ").read_bytes() + b"\0":
                    found.append(int(entry.name))
            except OSError:
                continue  # it ended, or is not ours
    return found


def kill_marked(mark: bytes) -> None:
    """SIGKILL to each of them."""
    for pid in marked(mark):
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            continue  # it ended, or is not ours
