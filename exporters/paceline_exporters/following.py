"""Rings followed over time: each is read once, for all who want to know what is new in it.

The files are untrusted, and one that proves hostile or fails costs itself only.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .attach import layout
from .messages import Event
from .rings import RingDirectory, RingReader, StepRow

FIRST_RECORDS = 512
"""Records read of a ring that is seen for the first time: older ones were written before anyone looked."""
HEADER_SECONDS = 5.0
"""How often the header of a ring is read again."""
LABEL_CHARACTERS = 128
MOST_LEFT = 1024
"""Rings of which it is remembered how far they were counted, should they come back."""
MOST_NEWS = 4096
"""Kept for somebody who does not take them."""

_RETRIES = layout.STEP_FIELDS.index("allocator_retries")
_FAR = 2**32
"""A cursor that moved so far is no claim to follow."""


@dataclass(frozen=True)
class Mark:
    """How far a ring was counted."""

    record: int = 0
    """The first record that was not."""
    retries: float = 0.0
    """Of the allocator until then."""
    event: int = 0
    """The first event that was not; 0 where events are counted anew."""


class Follower:
    """One ring: what it says of itself, and how far it was read."""

    def __init__(self, reader: RingReader, counted: Mark | None = None) -> None:
        """`counted`: how far, before it was met."""
        self.reader = reader
        self.data: Mapping[str, Any] = {}
        """The header, as it was read last."""
        self.broken = False
        """The file proved unreadable, or is gone: it is left alone."""
        self.alive = True
        """Whether its trainer lived at the latest look."""
        self.holder: int | None = None
        """The trainer's process id in this process's PID namespace; None when it is gone or not visible here."""
        self.last_alive = 0.0
        """Unix time: of the latest look at which the trainer lived, or of its last sign before the first."""
        self._header_read_at = -math.inf
        self._generation = 0
        self._next_step: int | None = None
        self._next_event = counted.event if counted else 0
        self._counted = counted
        self._retries = counted.retries if counted else 0.0

    @property
    def created(self) -> float:
        """Unix time, seconds."""
        return self.reader.created

    @property
    def mark(self) -> Mark | None:
        """How far it is counted; None where it was not read, nor counted before."""
        if self._next_step is None:
            return self._counted
        return Mark(self._next_step, self._retries, self._next_event)

    @property
    def identity(self) -> tuple[str, int] | None:
        """Run and rank, once the header names them."""
        run_id = self.data.get("run_id")
        return (run_id[:LABEL_CHARACTERS], whole(self.data, "rank")) if isinstance(run_id, str) else None

    def look(self, now: float, first_records: int) -> News | None:
        """What is new; None when nothing is, or the run has no name yet. Raises OSError, ValueError and
        RecursionError for a file that cannot be read."""
        # Asked in this order, nothing that a rank wrote before it died is missed.
        was_alive, pid = self.alive, self.reader.lock_holder()
        self.alive, self.holder = pid is not None, pid or None
        if not (self.alive or was_alive):
            return None
        changed = self._refresh(now) | (self.alive != was_alive)
        if self.identity is None:
            return None
        next_step, next_event = self.reader.cursors()
        if self._next_step is None:
            self._next_step, changed = self._first_step(next_step - first_records), True
            self.last_alive = self.reader.last_sign()
        if self.alive:
            self.last_alive = now
        rows, lost, old = self._take_steps(next_step)
        events = self._take_events(next_event)
        if not (changed or rows or lost or events):
            return None
        retries = self._new_retries(rows)
        return News(self, rows, lost, retries, events, old, self.mark)

    def _refresh(self, now: float) -> bool:
        """Read the header again when it is time; True when it changed."""
        if self._generation and now < self._header_read_at + HEADER_SECONDS:
            return False
        self._header_read_at = now
        header = self.reader.header()
        if header is None or header.generation == self._generation:
            return False
        self.data = header.data
        # While the run has no name, it is asked for each time.
        self._generation = header.generation if self.identity else 0
        return True

    def _first_step(self, recent: int) -> int:
        """Where to begin: with what is recent, or earlier where that was not counted yet."""
        return max(0, recent if self._counted is None else min(recent, self._counted.record))

    def _take_steps(self, stop: int) -> tuple[Sequence[StepRow], int, int]:
        first = self._next_step
        if first is None or not first < stop < first + _FAR:  # the cursor is only a claim
            return (), 0, 0
        begin = max(first, stop - layout.STEP_CAPACITY)
        rows = self.reader.steps(begin, stop)
        known = [row for row in rows if row is not None]
        fresh = max(first, min(self._counted.record, stop)) if self._counted else first
        old = sum(row is not None for row in rows[: max(0, fresh - begin)])
        self._next_step = stop
        return known, stop - fresh - (len(known) - old), old

    def _take_events(self, stop: int) -> Sequence[Event]:
        first = self._next_event
        if not first < stop < first + _FAR:
            return ()
        self._next_event = stop
        return self.reader.events(first)

    def _new_retries(self, rows: Sequence[StepRow]) -> float | None:
        """The allocator counts from the start of its process, which is this ring's."""
        before, known = self._retries, False
        for row in rows:
            if self._retries <= row[_RETRIES] < math.inf:
                self._retries, known = row[_RETRIES], True
        return self._retries - before if known else None


@dataclass(frozen=True)
class News:
    """What one look found in one ring; nothing but the follower where only its state or its header changed."""

    follower: Follower
    rows: Sequence[StepRow] = ()
    """Records in their order, those that were lost left out."""
    lost: int = 0
    """Records that were overwritten before they were read, or torn."""
    retries: float | None = None
    """Retries of the allocator; None where unknown."""
    events: Sequence[Event] = ()
    old: int = 0
    """So many rows come first that were counted before this agent started."""
    mark: Mark | None = None
    """How far the ring is counted with this; None where it was not read."""

    @property
    def fresh(self) -> Sequence[StepRow]:
        """The rows that were not counted before."""
        return self.rows[self.old :] if self.old else self.rows


class Tap:
    """What is new since the last time it was asked, for one who wants to know."""

    def __init__(self) -> None:
        self._waiting: deque[News] = deque(maxlen=MOST_NEWS)

    def put(self, news: News) -> None:
        """For the followers."""
        self._waiting.append(news)

    def drain(self) -> Iterator[News]:
        """All of it, oldest first."""
        while self._waiting:
            yield self._waiting.popleft()


class Followers:
    """The rings of a directory. Its methods may come from different threads."""

    def __init__(self, path: Path, first_records: int = FIRST_RECORDS) -> None:
        """`first_records`: of a ring that was there before, the latest so many are taken."""
        self.lock = threading.RLock()
        """Whoever reads a ring itself holds it: a look closes rings that are gone."""
        self.current: Mapping[str, Follower] = {}
        """By the ring's UUID; replaced, never changed."""
        self.skipped: Mapping[str, int] = {}
        """Files that are no readable ring, by reason."""
        self.counted: Mapping[str, Mark] = {}
        """How far rings were counted that are not here, by UUID: before this agent started (to be set before the
        first look), or before they left. A directory that cannot be read for a moment has none."""
        self._directory = RingDirectory(path)
        self._first_records = first_records
        self._taps: list[Tap] = []
        self._looked_at = -math.inf
        self._closed = False

    def tap(self) -> Tap:
        """For one more who wants to know, from now on."""
        tap = Tap()
        with self.lock:
            self._taps.append(tap)
        return tap

    def look(self, unless_within: float = 0.0) -> None:
        """Take what is new, unless somebody did within the last so many seconds."""
        with self.lock:
            began = time.monotonic()
            if self._closed or began - self._looked_at < unless_within:
                return
            self._looked_at = began
            self._meet()
            now = time.time()
            for follower in self.current.values():
                if not follower.broken and (news := self._read(follower, now)) is not None:
                    self._tell(news)

    def close(self) -> None:
        """Close the rings."""
        with self.lock:
            self._closed = True
            self._directory.close()

    def _meet(self) -> None:
        scan = self._directory.scan()
        self.skipped = scan.skipped
        if scan.rings.keys() == self.current.keys():
            return
        for uuid in self.current.keys() - scan.rings.keys():
            self._remember(uuid, self.current[uuid].mark)
            self._tell(_leave(self.current[uuid]))
        rings = sorted(scan.rings.items(), key=lambda found: found[1].created)
        self.current = {
            uuid: self.current.get(uuid) or Follower(reader, self.counted.get(uuid)) for uuid, reader in rings
        }

    def _remember(self, uuid: str, mark: Mark | None) -> None:
        if mark is not None:
            left = [*((one, kept) for one, kept in self.counted.items() if one != uuid), (uuid, mark)]
            self.counted = dict(left[-MOST_LEFT:])

    def _read(self, follower: Follower, now: float) -> News | None:
        try:
            return follower.look(now, self._first_records)
        except (OSError, ValueError, RecursionError):  # one hostile or failing file costs itself only
            return _leave(follower)

    def _tell(self, news: News) -> None:
        for tap in self._taps:
            tap.put(news)


def _leave(follower: Follower) -> News:
    follower.broken, follower.alive, follower.holder = True, False, None
    return News(follower)


def whole(data: Mapping[str, Any], key: str, default: int = 0) -> int:
    """An integer of a header."""
    value = data.get(key)
    return value if type(value) is int and abs(value) < 2**31 else default


def text(data: Mapping[str, Any], key: str, within: str = "") -> str:
    """A label value from a header, or from an object in it; empty where unknown."""
    found = data.get(within) if within else data
    value = found.get(key) if isinstance(found, Mapping) else None
    return str(value)[:LABEL_CHARACTERS] if isinstance(value, str | int | float) else ""
