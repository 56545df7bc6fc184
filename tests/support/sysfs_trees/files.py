"""Files and links as sysfs has them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

# Files of this machine whose read fails with the errno; the test machine's loopback device has no speed.
FAILING = {"EINVAL": "/sys/class/net/lo/speed", "EIO": "/proc/self/mem"}


def write(path: Path, value: object) -> None:
    """One attribute: the value and a newline, in place, so that open descriptors see it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{value}\n")


def write_all(directory: Path, values: Mapping[str, object]) -> None:
    """An attribute per item; names may have directories."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        write(directory / name, value)


def link(path: Path, target: Path) -> None:
    """A relative symbolic link, as all of sysfs's are; one that is there is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(os.path.relpath(target, path.parent))


def fail(path: Path, error: str) -> None:
    """From now on a read of the attribute fails with this errno, by name (see FAILING)."""
    path.unlink(missing_ok=True)
    path.symlink_to(FAILING[error])


def wedge(path: Path) -> None:
    """From now on the attribute blocks whoever opens it, as a hung driver does, until somebody opens it for
    writing."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)
