"""The writer of a ring: one per rank, inside the training process.

The step path never waits, makes no system call and takes no lock: it packs one record into the map, between
the two values of its sequence lock. The POSIX record lock on the file is held for life through a descriptor
that is never closed or reopened (closing any descriptor of the file would drop it); it is how others see
that the trainer lives.
"""

from __future__ import annotations

import errno
import fcntl
import json
import mmap
import os
import struct
import sys
import time
import uuid
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import layout

MAP_POPULATE = 0x8000
"""Linux; the mmap module names it only since Python 3.10. Page faults are paid at creation, not in a step."""

DEFAULT_DIRECTORY = "/dev/shm/paceline"
_CURSOR_WORD = layout.CURSOR_OFFSET // 8
_STEPS_WORD, _STEP_WORDS, _CAPACITY = layout.STEPS_OFFSET // 8, layout.STEP_BYTES // 8, layout.STEP_CAPACITY
_BODY_END = (layout.BODY_OFFSET + layout.STEP_BODY.size) // 8
_adler32 = zlib.adler32
_NAN = float("nan")
_UNWRITTEN = bytes(layout.LOCK.size + layout.NUMBER.size) + struct.pack("<d", _NAN) * len(layout.STEP_FIELDS)


class RecorderError(Exception):
    """The ring cannot be made; the text says why and what to do. Training goes on without it."""


class Recorder:
    """Creates a ring in `directory` and writes to it. Not thread-safe: one training thread writes steps."""

    def __init__(self, directory: str | os.PathLike[str], header: dict[str, Any]) -> None:
        if sys.byteorder != "little":
            raise RecorderError("this machine is big-endian; the ring's layout is little-endian")
        self.uuid = uuid.uuid4().hex
        self.path = Path(directory) / (self.uuid + ".ring")
        self._pid = os.getpid()
        self._next_step = self._next_event = self._generation = 0
        self._fields = 0
        """Of the longest record so far."""
        try:
            self._create(header)
        except OSError as error:
            raise RecorderError(_explain(error, self.path.parent)) from error

    def _create(self, header: dict[str, Any]) -> None:
        _ensure_directory(self.path.parent)
        temporary = self.path.with_name(f".{self.uuid}.new")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(temporary, flags, 0o640)
        try:
            os.fchmod(self._descriptor, 0o640)
            # A sparse map on a full tmpfs would kill the trainer at the first touch; this fails cleanly.
            os.posix_fallocate(self._descriptor, 0, layout.FILE_BYTES)
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._map = mmap.mmap(self._descriptor, layout.FILE_BYTES, flags=mmap.MAP_SHARED | MAP_POPULATE)
            whole = memoryview(self._map)
            self._words, self._doubles = whole.cast("Q"), whole.cast("d")
            self.since = whole[layout.SINCE_OFFSET :][: layout.SINCE.size].cast("d")
            """layout.SINCE, for who says what the rank does now."""
            self._write_prefix()
            empty = _UNWRITTEN.ljust(layout.STEP_BYTES, b"\0")
            self._map[layout.STEPS_OFFSET : layout.EVENTS_OFFSET] = empty * layout.STEP_CAPACITY
            self.header = dict(header)
            self.update_header({})
            temporary.rename(self.path)
        except BaseException:  # also a header that does not fit, or that JSON cannot hold
            os.close(self._descriptor)
            temporary.unlink()
            raise

    def _write_prefix(self) -> None:
        fields = (
            layout.MAGIC,
            layout.VERSION,
            layout.HEADER_BYTES,
            layout.STEP_BYTES,
            layout.STEP_CAPACITY,
            layout.EVENT_BYTES,
            layout.EVENT_CAPACITY,
            len(layout.STEP_FIELDS),
            bytes.fromhex(self.uuid),
            time.time_ns(),
        )
        packed = layout.PREFIX.pack(*fields, 0)
        self._map[: layout.PREFIX.size] = layout.PREFIX.pack(*fields, zlib.crc32(packed[:-4]))

    @property
    def writable(self) -> bool:
        """False in a forked child: it inherits the map, but neither the lock nor the right to write."""
        return os.getpid() == self._pid

    def update_header(self, changes: dict[str, Any]) -> None:
        """Merge `changes` into the header; readers see the old or the new header, never a mixture."""
        self.header.update(changes)
        body = _header_json(self.header)
        self._generation += 1
        offset = layout.SLOT_OFFSETS[self._generation % 2]
        head = layout.SLOT.pack(self._generation, len(body), zlib.crc32(body))
        start = offset + layout.SLOT.size
        self._map[start : start + len(body)] = body
        self._map[offset:start] = head

    def step(self, values: Sequence[float]) -> None:
        """Append one step record; `values` in the order of layout.STEP_FIELDS, NaN where unknown, as are those
        that are left out at the end."""
        number, words, doubles = self._next_step, self._words, self._doubles
        record = _STEPS_WORD + number % _CAPACITY * _STEP_WORDS
        words[record] = 2 * number + 1
        words[record + 1] = number
        # One by one: on caches that the model has emptied struct and a copy cost 10 us more.
        field = record + 2
        for value in values:
            doubles[field] = value
            field += 1
        longest = record + 2 + self._fields
        if field > longest:
            self._fields = field - record - 2
        while field < longest:  # nothing is left of the record that it replaces
            doubles[field] = _NAN
            field += 1
        words[record + _STEP_WORDS - 1] = _adler32(words[record + 1 : record + _BODY_END]) << 32
        words[record] = 2 * number + 2
        self._next_step = words[_CURSOR_WORD] = number + 1

    def event(self, kind: str, step: float = float("nan"), detail: dict[str, Any] | None = None) -> None:
        """Append one event; `detail` is cut to what fits a record."""
        number = self._next_event
        offset = layout.event_offset(number)
        body = _event_json(kind, detail or {})
        record = bytearray(layout.EVENT_BYTES)
        layout.EVENT_HEAD.pack_into(record, layout.BODY_OFFSET, number, time.time(), step, len(body))
        start = layout.BODY_OFFSET + layout.EVENT_HEAD.size
        record[start : start + len(body)] = body
        end = layout.EVENT_CHECKSUM_OFFSET
        layout.CHECKSUM.pack_into(record, end, zlib.adler32(record[layout.BODY_OFFSET : end]))
        self._words[offset >> 3] = 2 * number + 1
        self._map[offset + layout.BODY_OFFSET : offset + layout.EVENT_BYTES] = record[layout.BODY_OFFSET :]
        self._words[offset >> 3] = 2 * number + 2
        self._next_event = self._words[_CURSOR_WORD + 1] = number + 1


def _ensure_directory(directory: Path) -> None:
    try:
        directory.mkdir(parents=True)
    except FileExistsError:
        return
    directory.chmod(0o1777)  # like /tmp: jobs of several users share it, each removes only its own


def _explain(error: OSError, directory: Path) -> str:
    if error.errno == errno.ENOSPC:
        size = layout.FILE_BYTES / 2**20
        return f"no space for a ring of {size:.1f} MiB in {directory}: free some, or set PACELINE_RING_DIR"
    return f"cannot make a ring in {directory} ({error.strerror}): set PACELINE_RING_DIR to a writable directory"


def _header_json(header: dict[str, Any]) -> bytes:
    dropped: list[str] = []
    for key in ("", "buckets", "effective", "proposal"):
        dropped += [key] if key else []
        kept = {name: value for name, value in header.items() if name not in dropped}
        body = json.dumps({**kept, **({"left_out": dropped} if dropped else {})}, default=str).encode()
        if len(body) <= layout.SLOT_JSON_BYTES:
            return body
    raise RecorderError(f"the ring's header does not fit {layout.SLOT_JSON_BYTES} bytes")


def _event_json(kind: str, detail: dict[str, Any]) -> bytes:
    body = json.dumps({"kind": kind, "detail": detail}, default=str).encode()
    if len(body) <= layout.EVENT_JSON_BYTES:
        return body
    room = max(0, (layout.EVENT_JSON_BYTES - 200) // (6 * max(1, len(detail))))  # a character takes at most 6
    cut = {str(key)[:40]: _cut(value, room) for key, value in list(detail.items())[:8]}
    body = json.dumps({"kind": kind, "detail": cut}, default=str).encode()
    return body if len(body) <= layout.EVENT_JSON_BYTES else json.dumps({"kind": kind, "detail": {}}).encode()


def _cut(value: Any, room: int) -> Any:
    """A table keeps the first entries that fit, all else becomes text of `room` characters."""
    if not isinstance(value, dict):
        return str(value)[:room]
    kept, used = {}, 0
    for key, entry in value.items():
        used += len(json.dumps({key: entry}, default=str))
        if used > 6 * room:
            break
        kept[key] = entry
    return kept
