"""Reports on disk while the tuner is away: bounded, atomic, in order, and none of them can stop the agent.

One file per report: a line of marks (how far the report goes, per ring), a line of JSON, a line with the CRC-32
of both. A file is written under another name, synced and renamed; what does not check is removed and counted.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from paceline_exporters.messages import MessageError, RingMark

FILE = re.compile(r"\d{12}\.report\Z")


class SpoolError(Exception):
    """The spool directory cannot be used; the text says why and what to do."""


class Spool:
    """The spool of one node for one tuner. Not thread-safe: one call at a time."""

    def __init__(self, directory: Path, most_bytes: int) -> None:
        """Takes the directory for this process alone. Raises SpoolError."""
        self.directory = directory
        self.most_bytes = most_bytes
        self.dropped = 0
        """Reports removed because the spool was full."""
        self.corrupt = 0
        """Files that did not check."""
        self._lock = _take(directory)
        for stale in directory.glob("*.new"):
            stale.unlink()
        names = [path.name for path in directory.iterdir()]
        self._sizes = {name: (directory / name).stat().st_size for name in sorted(names) if FILE.match(name)}
        self._next = int(max(self._sizes, default="0").partition(".")[0]) + 1

    @property
    def size(self) -> int:
        """What all files hold, bytes."""
        return sum(self._sizes.values())

    def __len__(self) -> int:
        return len(self._sizes)

    def close(self) -> None:
        """Give the directory back."""
        os.close(self._lock)

    def marks(self) -> dict[str, RingMark]:
        """How far the spooled reports go, per ring: where to read on after a restart."""
        marks: dict[str, RingMark] = {}
        for name in self._sizes:
            try:
                with (self.directory / name).open("rb") as file:
                    marks.update(_marks(json.loads(file.readline())))
            except (OSError, ValueError, TypeError, MessageError):
                continue  # `oldest` removes and counts it
        return marks

    def append(self, report: bytes, marks: Mapping[str, RingMark]) -> None:
        """Add one report (JSON on one line). Raises OSError; nothing is left behind then."""
        head = json.dumps(
            {ring: [m.next_record, m.next_event, m.generation] for ring, m in marks.items()}
        ).encode()
        body = head + b"\n" + report + b"\n"
        data = body + b"%08x\n" % zlib.crc32(body)
        self._make_room(len(data))
        name = f"{self._next:012d}.report"
        _write(self.directory / name, data)
        self._next += 1
        self._sizes[name] = len(data)

    def oldest(self) -> tuple[str, bytes] | None:
        """Name and JSON of the oldest report that checks; those that do not are removed on the way."""
        for name in list(self._sizes):
            report = _checked(self.directory / name)
            if report is not None:
                return name, report
            self.corrupt += 1
            self.remove(name)
        return None

    def remove(self, name: str) -> None:
        """Forget one report."""
        del self._sizes[name]
        (self.directory / name).unlink(missing_ok=True)

    def _make_room(self, needed: int) -> None:
        for name in list(self._sizes):
            if self.size + needed <= self.most_bytes:
                return
            self.dropped += 1
            self.remove(name)


def spool_directory(root: Path, node: str, tuner_url: str) -> Path:
    """One directory per node (homes are shared) and tuner (what one tuner is owed, no other gets)."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", node)[:64] or "node"
    return root / f"{name}-{hashlib.sha256(tuner_url.encode()).hexdigest()[:8]}"


def _take(directory: Path) -> int:
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SpoolError(
            f"cannot write to the spool directory {directory} ({error.strerror}): set --spool.directory"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise SpoolError(
            f"another agent uses the spool {directory}: stop it, or set --spool.directory"
        ) from error
    return lock


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".new")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _checked(path: Path) -> bytes | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    body, checksum = data[:-9], data[-9:]
    if checksum != b"%08x\n" % zlib.crc32(body):
        return None
    return body.partition(b"\n")[2].rstrip(b"\n")


def _marks(data: Mapping[str, Any]) -> Iterator[tuple[str, RingMark]]:
    for ring, (record, event, generation) in data.items():
        yield ring, RingMark(int(record), int(event), int(generation), known=True)
