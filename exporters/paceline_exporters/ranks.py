"""Rings followed over time: what each rank of each run did so far, across restarts of the rank.

The files are untrusted: a number is taken over only when it is finite, a total only grows, text is cut.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .attach import layout
from .rings import Header, RingReader, StepRow

FIRST_RECORDS = 512
"""Records read of a ring that is seen for the first time: older ones were written before anyone looked."""
HEADER_SECONDS = 5.0
"""How often the header of a ring is read again."""
OTHER_KIND = "other"
"""Stands for event kinds that this version does not know."""
LABEL_CHARACTERS = 128

_INDEX = {name: index for index, name in enumerate(layout.STEP_FIELDS)}
_LOSS = _INDEX["loss"]
SUMMED = tuple(
    name
    for name in layout.STEP_FIELDS
    if name in ("samples", "tokens") or (name.endswith("_seconds") and not name.startswith("ddp_"))
)
LATEST = (
    "step",
    "wall",
    "loss",
    "grad_norm",
    "learning_rate",
    "ddp_compute_seconds",
    "ddp_comm_seconds",
    "ddp_exposed_seconds",
    "gpu_memory_peak_bytes",
)
_SUMMED = [(name, _INDEX[name]) for name in SUMMED]
_LATEST = [(name, _INDEX[name]) for name in LATEST]


@dataclass
class Rank:
    """One rank of one run: totals over all its attempts that were seen, and its latest values."""

    run_id: str
    rank: int
    totals: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SUMMED, 0.0))
    steps: int = 0
    lost: int = 0
    """Records that were overwritten before they were read, or torn."""
    events: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*layout.EVENT_KINDS, OTHER_KIND), 0))
    latest: dict[str, float] = field(default_factory=dict)
    """Newest known value by field name; a loss that became NaN stands in it as NaN."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Header of the newest attempt."""
    created: float = 0.0
    """Of the newest attempt's ring, Unix time."""
    alive: bool = False
    last_alive: float = 0.0
    """Unix time."""

    @property
    def loss_finite(self) -> bool | None:
        """None while no loss is known."""
        loss = self.latest.get("loss")
        return None if loss is None else math.isfinite(loss)

    def whole(self, key: str, default: int = 0) -> int:
        """An integer of the header."""
        return _whole(self.data, key, default)

    def text(self, key: str, within: str = "") -> str:
        """A label value from the header, empty where unknown."""
        data = self.data.get(within) if within else self.data
        value = data.get(key) if isinstance(data, Mapping) else None
        return str(value)[:LABEL_CHARACTERS] if isinstance(value, str | int | float) else ""


class Follower:
    """Reads what is new in one ring into its rank."""

    def __init__(self, reader: RingReader) -> None:
        self.reader = reader
        self.rank: Rank | None = None
        self.alive = True
        self._read_header_at = -math.inf
        self._generation = 0
        next_step, _ = reader.cursors()
        self._next_step = max(0, next_step - FIRST_RECORDS)
        self._next_event = 0

    def identity(self, now: float) -> tuple[str, int] | None:
        """Run and rank, once the header names them."""
        header = self.header(now)
        if header is None or not isinstance(header.data.get("run_id"), str):
            return None
        return header.data["run_id"][:LABEL_CHARACTERS], _whole(header.data, "rank", 0)

    def header(self, now: float) -> Header | None:
        """The header when it is new, None otherwise."""
        if self.rank is not None and now < self._read_header_at + HEADER_SECONDS:
            return None
        self._read_header_at = now
        header = self.reader.header()
        if header is None or header.generation == self._generation:
            return None
        if isinstance(header.data.get("run_id"), str):
            self._generation = header.generation
        return header

    def advance(self, rank: Rank, now: float) -> bool:
        """Take over what is new; False when nothing is. Raises OSError where the file cannot be read."""
        alive = self.reader.alive()
        if not (alive or self.alive):
            return False
        header = self.header(now)
        next_step, next_event = self.reader.cursors()
        changed = bool(header) or alive != self.alive
        changed |= self._take_steps(rank, next_step) | self._take_events(rank, next_event)
        self.alive = alive
        if self.is_newest(rank):
            rank.alive = alive
            rank.last_alive = now if alive else rank.last_alive
            rank.data = header.data if header else rank.data
        return changed

    def is_newest(self, rank: Rank) -> bool:
        """Whether this ring is the rank's newest attempt, whose latest values count."""
        return self.reader.created >= rank.created

    def _take_steps(self, rank: Rank, stop: int) -> bool:
        first = self._next_step
        if not first < stop < first + 2**32:  # the cursor is only a claim
            return False
        start = max(first, stop - layout.STEP_CAPACITY)
        rows = self.reader.steps(start, stop)
        known = [row for row in rows if row is not None]
        rank.lost += start - first + len(rows) - len(known)
        rank.steps += len(known)
        _add(rank.totals, known)
        if known and self.is_newest(rank):
            _update_latest(rank, known)
        self._next_step = stop
        return True

    def _take_events(self, rank: Rank, stop: int) -> bool:
        if not self._next_event < stop < self._next_event + 2**32:
            return False
        kinds = Counter(event.kind for event in self.reader.events(self._next_event))
        for kind, count in kinds.items():
            rank.events[kind if kind in rank.events else OTHER_KIND] += count
        self._next_event = stop
        if "nan" in kinds and self.is_newest(rank):
            rank.latest["loss"] = math.nan if rank.latest.get("loss") is None else rank.latest["loss"]
        return True


def _whole(data: Mapping[str, Any], key: str, default: int) -> int:
    value = data.get(key)
    return value if isinstance(value, int) else default


def _add(totals: dict[str, float], rows: Iterable[StepRow]) -> None:
    for row in rows:
        for name, index in _SUMMED:
            value = row[index]
            if 0.0 <= value < math.inf:
                totals[name] += value


def _update_latest(rank: Rank, rows: list[StepRow]) -> None:
    for row in rows[-8:]:  # the newest value of a field is in one of the last records, or stays
        for name, index in _LATEST:
            value = row[index]
            if value == value:
                rank.latest[name] = value
