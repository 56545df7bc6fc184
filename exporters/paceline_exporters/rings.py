"""Reading rings: every file is untrusted bytes, and reading one never disturbs its writer.

Readers use `pread`, never a map (a file truncated under a map kills its reader with SIGBUS), and check size,
magic, geometry, sequence lock and checksum of all they take.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import stat
import struct
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from .attach import control, layout
from .attach.recorder import DEFAULT_DIRECTORY
from .messages import Event

_FLOCK = struct.Struct("@hhqqi4x")  # struct flock of Linux on 64-bit machines
_TORN_RETRIES = 3
_MOST_RECORDS = 2**53
_MISSING_FIELDS = (math.nan,) * len(layout.STEP_FIELDS)

StepRow = tuple[float, ...]


class RingError(Exception):
    """A file that is no readable ring: skip it and count `reason`."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True)
class Header:
    """A ring's header as of `generation`."""

    generation: int
    data: Mapping[str, Any]


def default_directory() -> Path:
    """PACELINE_RING_DIR, else /dev/shm/paceline."""
    return Path(os.environ.get("PACELINE_RING_DIR") or DEFAULT_DIRECTORY)


class RingReader:
    """One ring, held open read-only."""

    def __init__(self, path: Path, descriptor: int, uuid: str, fields: int, created: float) -> None:
        self.path = path
        self.uuid = uuid
        self.created = created
        """Unix time, seconds."""
        self._descriptor = descriptor
        self._fields = min(fields, len(layout.STEP_FIELDS))
        self._step_body_bytes = layout.NUMBER.size + 8 * fields
        rest = layout.STEP_CHECKSUM_OFFSET - layout.BODY_OFFSET - layout.NUMBER.size - 8 * self._fields
        self._step_record = struct.Struct(f"<QQ{self._fields}d{rest}xI")
        """Lock, number, the fields that are known here, checksum."""
        self._padding = _MISSING_FIELDS[self._fields :]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open and check one file; raises RingError."""
        try:
            # O_NONBLOCK: a FIFO in a ring's place must not hang the reader.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError as error:
            raise RingError("vanished", f"{path}: {error.strerror}") from error
        except PermissionError as error:
            raise RingError("permission", f"{path}: {error.strerror}") from error
        except OSError as error:
            raise RingError("not_regular", f"{path}: {error.strerror}") from error
        try:
            return cls(path, descriptor, *_checked_prefix(path, descriptor))
        except RingError:
            os.close(descriptor)
            raise

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)

    def header(self) -> Header | None:
        """The newer valid header slot, None while there is none."""
        slots = [slot for offset in layout.SLOT_OFFSETS if (slot := self._slot(offset)) is not None]
        return max(slots, key=lambda slot: slot.generation, default=None)

    def _slot(self, offset: int) -> Header | None:
        data = os.pread(self._descriptor, layout.SLOT_BYTES, offset)
        if len(data) < layout.SLOT.size:
            return None
        generation, length, crc = layout.SLOT.unpack_from(data)
        body = data[layout.SLOT.size : layout.SLOT.size + length]
        if generation == 0 or len(body) != length or zlib.crc32(body) != crc:
            return None
        try:
            decoded = json.loads(body)
        except (ValueError, RecursionError):  # the latter for a thousand brackets
            return None
        return Header(generation, decoded) if isinstance(decoded, dict) else None

    def cursors(self) -> tuple[int, int]:
        """Next step record number and next event number, as the file claims; 0 where the claim is absurd."""
        data = os.pread(self._descriptor, layout.CURSOR.size, layout.CURSOR_OFFSET)
        if len(data) < layout.CURSOR.size:
            return 0, 0
        steps, events = layout.CURSOR.unpack(data)
        return (0, 0) if max(steps, events) > _MOST_RECORDS else (steps, events)

    def phase(self) -> tuple[str, float]:
        """What the rank does now, and since when (monotonic, seconds); empty and 0.0 where it does not say."""
        data = os.pread(self._descriptor, layout.SINCE.size, layout.SINCE_OFFSET)
        if len(data) < layout.SINCE.size:
            return "", 0.0
        began = zip(layout.SINCE.unpack(data), layout.PHASES, strict=True)
        since, phase = max(((at, name) for at, name in began if name and 0.0 < at < math.inf), default=(0.0, ""))
        return phase, since

    def steps(self, first: int, stop: int) -> list[StepRow | None]:
        """Records first..stop-1, at most a ring's capacity of them.

        Each is a tuple in the order of layout.STEP_FIELDS with NaN where unknown, or None when it was
        overwritten, never written, or torn (its writer died in the middle).
        """
        if not 0 <= first <= stop <= first + layout.STEP_CAPACITY:
            raise ValueError(f"records {first} to {stop}: at most {layout.STEP_CAPACITY} at a time")
        return list(self._step_rows(first, stop))

    def _step_rows(self, first: int, stop: int) -> Iterator[StepRow | None]:
        number = first
        while number < stop:
            slots = min(stop - number, layout.STEP_CAPACITY - number % layout.STEP_CAPACITY)
            block = os.pread(self._descriptor, slots * layout.STEP_BYTES, layout.step_offset(number))
            view = memoryview(block)
            for at in range(0, slots * layout.STEP_BYTES, layout.STEP_BYTES):
                record = view[at : at + layout.STEP_BYTES]
                yield self._whole_row(number, record) or self._step_row(number, bytes(record))
                number += 1

    def _whole_row(self, number: int, record: memoryview) -> StepRow | None:
        """The record's fields; None where it is not number's and whole. Nearly all are, at once."""
        if len(record) < layout.STEP_BYTES:
            return None
        lock, held, *row, checksum = self._step_record.unpack(record)
        body = record[layout.BODY_OFFSET : layout.BODY_OFFSET + self._step_body_bytes]
        if lock != 2 * number + 2 or held != number or zlib.adler32(body) != checksum:
            return None
        return (*row, *self._padding)

    def _step_row(self, number: int, record: bytes) -> StepRow | None:
        checked = self._checked(number, record, layout.step_offset(number), self._step_body_bytes)
        return None if checked is None else self._whole_row(number, memoryview(checked))

    def _checked(self, number: int, record: bytes, offset: int, body_bytes: int) -> bytes | None:
        """The record if it is number's and whole; read again a few times while its writer is at it."""
        size = len(record)
        for _ in range(_TORN_RETRIES):
            if len(record) == size > layout.BODY_OFFSET + body_bytes:
                (lock,) = layout.LOCK.unpack_from(record)
                (held,) = layout.NUMBER.unpack_from(record, layout.BODY_OFFSET)
                (checksum,) = layout.CHECKSUM.unpack_from(record, size - layout.CHECKSUM.size)
                body = record[layout.BODY_OFFSET : layout.BODY_OFFSET + body_bytes]
                if lock == 2 * number + 2 and held == number and zlib.adler32(body) == checksum:
                    return record
                if lock > 2 * number + 2:
                    return None  # overwritten by a later lap
            record = os.pread(self._descriptor, size, offset)
        return None

    def events(self, first: int) -> list[Event]:
        """Events from number `first` on that are still in the ring."""
        stop = self.cursors()[1]
        oldest = max(first, stop - layout.EVENT_CAPACITY)
        numbers = range(oldest, min(stop, oldest + layout.EVENT_CAPACITY))
        return [event for number in numbers if (event := self._event(number)) is not None]

    def _event(self, number: int) -> Event | None:
        offset = layout.event_offset(number)
        raw = os.pread(self._descriptor, layout.EVENT_BYTES, offset)
        record = self._checked(number, raw, offset, layout.EVENT_CHECKSUM_OFFSET - layout.BODY_OFFSET)
        if record is None:
            return None
        _, wall, step, length = layout.EVENT_HEAD.unpack_from(record, layout.BODY_OFFSET)
        start = layout.BODY_OFFSET + layout.EVENT_HEAD.size
        try:
            body = json.loads(record[start : start + length])
            kind, detail = str(body["kind"]), dict(body["detail"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        if not math.isfinite(wall):
            return None
        return Event(number, kind, wall, step if math.isfinite(step) else None, detail)

    def alive(self) -> bool:
        """Whether the trainer still holds its record lock; works across PID namespaces."""
        return self.lock_holder() is not None

    def holder(self) -> int | None:
        """The trainer's process id in this process's PID namespace; None when it is gone or not visible here."""
        return self.lock_holder() or None

    def lock_holder(self) -> int | None:
        """The process that holds the lock, 0 for one of another PID namespace, None for nobody."""
        query = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        try:
            kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(self._descriptor, fcntl.F_GETLK, query))
        except OSError:  # a file system without locks: nobody holds any
            return None
        return None if kind == fcntl.F_UNLCK else max(0, pid)

    def last_sign(self) -> float:
        """Unix time of the newest thing the ring holds, seconds (a map's writes do not move mtime on tmpfs)."""
        next_step, next_event = self.cursors()
        rows = self.steps(next_step - 1, next_step) if next_step > 0 else []
        walls = [row[layout.STEP_FIELDS.index("wall")] for row in rows if row is not None]
        walls += [event.wall for event in self.events(max(0, next_event - 1))]
        now = time.time()
        return max([self.created, *(wall for wall in walls if self.created <= wall <= now)])


def _checked_prefix(path: Path, descriptor: int) -> tuple[str, int, float]:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise RingError("not_regular", f"{path} is not a regular file")
    data = os.pread(descriptor, layout.PREFIX.size, 0)
    if len(data) < layout.PREFIX.size:
        raise RingError("truncated", f"{path} is shorter than a ring's prefix")
    magic, version, *geometry, fields, uuid, created, crc = layout.PREFIX.unpack(data)
    if magic != layout.MAGIC:
        raise RingError("foreign", f"{path} is not a ring")
    if version != layout.VERSION:
        raise RingError("version", f"{path} has layout version {version}, this reader knows {layout.VERSION}")
    if zlib.crc32(data[:-4]) != crc:
        raise RingError("checksum", f"{path}: the prefix's checksum does not match")
    if geometry != _GEOMETRY or status.st_size > layout.FILE_BYTES or not 0 < fields <= _MOST_FIELDS:
        raise RingError("size", f"{path} has another geometry than version {version}")
    if status.st_size < layout.FILE_BYTES:
        raise RingError("truncated", f"{path} has {status.st_size} of {layout.FILE_BYTES} bytes")
    if path.stem != uuid.hex():
        raise RingError("foreign", f"{path} holds the ring {uuid.hex()}")
    return uuid.hex(), fields, created / 1e9


_GEOMETRY = [
    layout.HEADER_BYTES,
    layout.STEP_BYTES,
    layout.STEP_CAPACITY,
    layout.EVENT_BYTES,
    layout.EVENT_CAPACITY,
]
_MOST_FIELDS = (layout.STEP_BYTES - layout.BODY_OFFSET - layout.NUMBER.size - layout.CHECKSUM.size) // 8


@dataclass(frozen=True)
class Scan:
    """What a directory holds now."""

    rings: Mapping[str, RingReader]
    skipped: Mapping[str, int]
    """Reason -> files skipped in this scan."""


class RingDirectory:
    """All rings of a directory; readers stay open from scan to scan."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: dict[str, tuple[int, RingReader]] = {}  # file name -> inode, reader

    def scan(self) -> Scan:
        """Open what is new, close what is gone. A directory that is missing holds nothing."""
        skipped: Counter[str] = Counter()
        seen = {}
        for entry in self._entries():
            try:
                seen[entry.name] = self._reader(entry)
            except RingError as error:
                skipped[error.reason] += 1
        for name in self._open.keys() - seen.keys():
            self._open.pop(name)[1].close()
        return Scan({reader.uuid: reader for reader in seen.values()}, dict(skipped))

    def _entries(self) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.path) as entries:
                return [entry for entry in entries if entry.name.endswith(".ring")]
        except OSError:
            return []

    def _reader(self, entry: os.DirEntry[str]) -> RingReader:
        known = self._open.get(entry.name)
        if known is not None and known[0] == entry.inode():
            return known[1]
        if known is not None:
            self._open.pop(entry.name)[1].close()
        reader = RingReader.open(Path(entry.path))
        self._open[entry.name] = (entry.inode(), reader)
        return reader

    def sweep(self, older_than_seconds: float) -> int:
        """Remove rings that nobody holds and that showed no sign for so long; returns how many."""
        removed = 0
        horizon = time.time() - older_than_seconds
        for reader in self.scan().rings.values():
            if not reader.alive() and reader.last_sign() < horizon:
                try:
                    for path in (*control.beside(reader.path), reader.path):
                        path.unlink(missing_ok=True)
                except OSError:
                    continue  # another user's ring: its owner or root removes it
                removed += 1
        self._sweep_unfinished(horizon)
        self.scan()
        return removed

    def _sweep_unfinished(self, horizon: float) -> None:
        """Files of trainers that were killed before their ring had its name."""
        for path in self.path.glob(".*.new"):
            try:
                if path.lstat().st_mtime < horizon:
                    path.unlink()
            except OSError:
                continue  # gone meanwhile, or another user's

    def close(self) -> None:
        """Close every reader."""
        for _, reader in self._open.values():
            reader.close()
        self._open.clear()
