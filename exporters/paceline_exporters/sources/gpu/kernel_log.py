"""The kernel's log, as /dev/kmsg hands it out: one record a read (Documentation/ABI/testing/dev-kmsg).

Reading needs no daemon and takes no record away from another reader. Without permission, or without the file
(most containers), there is simply no log: `problem` says why.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

READ_BYTES = 16384
"""More than the longest record: the kernel answers EINVAL to a shorter buffer than the record needs."""
READS_AT_ONCE = 20_000
"""More than a ring of the usual size holds; a log that grows faster than it is read is continued next time."""
HEAD = re.compile(rb"(\d{1,10}),(\d{1,20}),(\d{1,20}),[^;]*;(.*)", re.DOTALL)
"""Priority and facility, sequence, microseconds, flags and what a later kernel may add; then the text."""
FIX = "mount the host's /dev/kmsg, read it as root or with CAP_SYSLOG, and in a container run privileged"


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the log."""

    sequence: int
    """Counts from 0 at boot."""
    seconds: float
    """Since boot, by the scheduler's clock: CLOCK_MONOTONIC, give or take some seconds a month."""
    from_kernel: bool
    """Facility 0, which no process can write."""
    text: str


class KernelLog:
    """Reads what is new since it was last asked. A regular file or a FIFO of such records will do as well."""

    def __init__(self, path: Path) -> None:
        self.problem: str | None = None
        """Why the log cannot be read and what would mend it; None while it can."""
        self.lost = 0
        """Records that were overwritten before they were read."""
        self._path = path
        self._file: int | None = None
        self._rest = b""
        self._expected: int | None = None

    def read(self) -> list[Record]:
        """What is new, oldest first; never waits. After an open, that is the whole ring."""
        if self._file is None and not self._open():
            return []
        return list(self._records())

    def close(self) -> None:
        """Close the file; the next `read` opens it anew."""
        if self._file is not None:
            os.close(self._file)
        self._file, self._rest, self._expected = None, b"", None

    def _open(self) -> bool:
        try:
            self._file = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            self.problem = f"{self._path}: {error.strerror}: {FIX}"
            return False
        self.problem = None
        return True

    def _records(self) -> Iterator[Record]:
        for line in self._lines():
            record = parse(line)
            if record is not None:
                if self._expected is not None and record.sequence > self._expected:
                    self.lost += record.sequence - self._expected
                self._expected = record.sequence + 1
                yield record

    def _lines(self) -> Iterator[bytes]:
        for chunk in self._chunks():
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            yield from lines

    def _chunks(self) -> Iterator[bytes]:
        assert self._file is not None
        for _ in range(READS_AT_ONCE):
            try:
                chunk = os.read(self._file, READ_BYTES)
            except BrokenPipeError:  # overwritten; the next read continues with the oldest there is
                continue
            except BlockingIOError:
                return
            except OSError as error:
                self.problem = f"{self._path}: {error.strerror}: {FIX}"
                self.close()
                return
            if not chunk:
                return
            yield chunk


def parse(line: bytes) -> Record | None:
    """A record's first line; None for the lines of details that may follow it, and for anything else."""
    match = HEAD.fullmatch(line)
    if match is None:
        return None
    priority, sequence, microseconds, text = match.groups()
    return Record(
        int(sequence), int(microseconds) / 1e6, int(priority) >> 3 == 0, text.decode("utf-8", "replace")
    )
