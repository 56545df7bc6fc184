"""Files of sysfs: kept open, reopened when the device behind them came back."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable
from pathlib import Path

Failed = Callable[[Exception], None]
"""Is told of a read that failed."""
SIZE = 128
"""Bytes asked for; the longest attribute read here has fewer than 64."""
TEXT_SIZE = 4096
"""Bytes of a text that are looked at: sysfs has no attribute longer than a page."""
GONE = (errno.ENODEV, errno.ENOENT, errno.ESTALE)


class Descriptors:
    """How many files may be kept open: three quarters of what the process may have. One beyond them is opened at
    each read, which costs eight times as much and works as well."""

    def __init__(self, limit: int | None = None) -> None:
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.left = soft * 3 // 4 if limit is None else limit


class Attribute:
    """One file. `read` gives its present content: a pread from the start makes sysfs produce it anew."""

    __slots__ = ("_descriptor", "_descriptors", "path")

    def __init__(self, path: str, descriptors: Descriptors) -> None:
        self.path = path
        self._descriptors = descriptors
        self._descriptor = -1

    def read(self) -> bytes:
        """The content. Raises OSError."""
        if self._descriptor >= 0:
            try:
                return os.pread(self._descriptor, SIZE, 0)
            except OSError as error:
                if error.errno not in GONE:
                    raise
                self.close()
        return self._open_and_read()

    def close(self) -> None:
        """Let the file go; a later read opens it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._descriptors.left += 1

    def _open_and_read(self) -> bytes:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = os.pread(descriptor, SIZE, 0)
        except BaseException:
            os.close(descriptor)
            raise
        if self._descriptors.left > 0:
            self._descriptors.left -= 1
            self._descriptor = descriptor
        else:
            os.close(descriptor)
        return text


def text(path: Path, failed: Failed) -> str:
    """A short attribute that seldom changes; empty where it is absent, or fails to be read, which is told."""
    try:
        with path.open("rb", buffering=0) as file:
            return (file.read(TEXT_SIZE) or b"").decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        failed(error)
        return ""


def names(directory: Path, failed: Failed) -> list[str]:
    """What is in a directory, sorted; nothing where there is none, or it cannot be listed, which is told."""
    try:
        return sorted(entry.name for entry in directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        failed(error)
        return []


def target(link: Path, failed: Failed) -> Path | None:
    """Where a link leads in the end; None where it is none, or leads nowhere or to itself, which is told."""
    try:
        return Path(os.path.realpath(link, strict=True)) if link.is_symlink() else None
    except OSError as error:
        failed(error)
        return None
