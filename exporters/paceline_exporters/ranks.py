"""Rings followed over time: what each rank of each run did so far, across restarts of the rank.

The files are untrusted: a number is taken over only when it is finite, a total only grows, text is cut.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .attach import layout
from .messages import Event
from .rings import RingReader, StepRow

FIRST_RECORDS = 512
"""Records read of a ring that is seen for the first time: older ones were written before anyone looked."""
HEADER_SECONDS = 5.0
"""How often the header of a ring is read again."""
OTHER_KIND = "other"
"""Stands for event kinds that this version does not know."""
LABEL_CHARACTERS = 128
RECENT_STEPS = 50
"""Steps that "recent" means."""
FAILURES = ("oom", "exception")
"""Kinds of events that end training and name the exception."""

_INDEX = {name: index for index, name in enumerate(layout.STEP_FIELDS)}
_LOSS = _INDEX["loss"]
_TOKENS, _REAL_TOKENS = _INDEX["tokens"], _INDEX["real_tokens"]
_STEP_SECONDS, _COMPILE_SECONDS = _INDEX["step_seconds"], _INDEX["compile_seconds"]
_RETRIES = _INDEX["allocator_retries"]
SUMMED = tuple(
    name
    for name in layout.STEP_FIELDS
    if name in ("samples", "tokens", "optimizer_skipped")
    or (name.endswith("_seconds") and not name.startswith("ddp_"))
)
LATEST = (
    "step",
    "monotonic",
    "wall",
    "loss",
    "grad_norm",
    "learning_rate",
    "ddp_compute_seconds",
    "ddp_comm_seconds",
    "ddp_exposed_seconds",
    "gpu_memory_peak_bytes",
    "gpu_memory_allocated_bytes",
    "gpu_memory_reserved_bytes",
    "grad_norm_first_micro",
)
_SUMMED = [(name, _INDEX[name]) for name in SUMMED]
_LATEST = [(name, _INDEX[name]) for name in LATEST]


@dataclass(frozen=True)
class Failure:
    """What ended training, as the rank itself told."""

    kind: str
    """One of FAILURES."""
    exception: str
    """Name of its type, empty where not told."""
    step: float | None
    """The last step that ended before."""


@dataclass
class Rank:
    """One rank of one run: totals over all its attempts that were seen, and its latest values."""

    run_id: str
    rank: int
    totals: dict[str, float] = field(default_factory=dict)
    """Sum by field name; a field that was never known is not in it. `real_tokens` and `padding_tokens` are those
    of the steps in which padding was counted, and make up all tokens of these; `allocator_retries` those of all
    attempts."""
    steps: int = 0
    lost: int = 0
    """Records that were overwritten before they were read, or torn."""
    events: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*layout.EVENT_KINDS, OTHER_KIND), 0))
    latest: dict[str, float] = field(default_factory=dict)
    """Newest known value by field name; a loss that became NaN stands in it as NaN."""
    recent: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=RECENT_STEPS))
    """Tokens and seconds of the newest attempt's last steps in which nothing was compiled."""
    flops: float | None = None
    """Of all tokens, at the FLOPs per token that held when they were read; None while unknown."""
    failure: Failure | None = None
    """The latest one, also of an attempt before."""
    last_loss: float | None = None
    """As the newest record has it: NaN where unknown or not a number."""
    nan_seen: bool = False
    """The newest attempt reported a loss that is not a number."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Header of the newest attempt."""
    created: float = 0.0
    """Of the newest attempt's ring, Unix time."""
    alive: bool = False
    last_alive: float = 0.0
    """Unix time."""
    ended: bool = False
    """The newest attempt's train() returned or raised, and did not begin again."""
    _tokens_worked: float = 0.0
    """Tokens that are in `flops`."""

    @property
    def training(self) -> bool:
        """Whether steps are still to be expected."""
        return self.alive and not self.ended

    @property
    def loss(self) -> float | None:
        """The latest known loss; None while unknown and after it stopped being a number."""
        return None if self.nan_seen and self.last_loss != self.last_loss else self.latest.get("loss")

    @property
    def loss_finite(self) -> bool | None:
        """Whether the latest loss is a finite number; None while no loss is known."""
        if self.nan_seen and self.last_loss != self.last_loss:
            return False
        loss = self.latest.get("loss")
        return None if loss is None else math.isfinite(loss)

    def begin(self, created: float, last_sign: float) -> None:
        """A ring of this rank appeared; if it is the newest attempt, its values count from now on."""
        if created >= self.created:
            self.created, self.last_alive = created, max(self.last_alive, last_sign)
            self.latest.clear()
            self.recent.clear()
            self.last_loss, self.nan_seen, self.ended = None, False, False

    @property
    def flops_per_second(self) -> float | None:
        """Over the last steps, pauses left out; None while unknown."""
        rate = self.flops_per_token
        if rate is None or not self.recent:
            return None
        tokens, seconds = map(sum, zip(*self.recent, strict=True))
        return rate * tokens / seconds if seconds > 0.0 else None

    @property
    def flops_per_token(self) -> float | None:
        """As the rank has it in its header."""
        rate = self.number("flops_per_token")
        return rate if rate is not None and 0.0 < rate < math.inf else None

    def count_work(self) -> None:
        """Take the tokens that are new into `flops`."""
        tokens, rate = self.totals.get("tokens"), self.flops_per_token
        if tokens is not None and rate is not None:
            self.flops = (self.flops or 0.0) + (tokens - self._tokens_worked) * rate
            self._tokens_worked = tokens

    def whole(self, key: str, default: int = 0) -> int:
        """An integer of the header."""
        return _whole(self.data, key, default)

    def number(self, key: str) -> float | None:
        """A number of the header, None where unknown."""
        value = self.data.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if abs(value) < 2**63 else None

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
        self.broken = False
        """Set by the owner: the file proved unreadable, it is left alone."""
        self.data: Mapping[str, Any] = {}
        self.rows: list[StepRow] = []
        """What the latest `advance` took over, lost records left out."""
        self._alive = True
        self._header_read_at = -math.inf
        self._generation = 0
        self._next_step = 0
        self._next_event = 0
        self._retries = 0.0

    def join(self, rank: Rank, first_records: int = FIRST_RECORDS) -> None:
        """What this ring holds is that rank's from now on; of what it holds already the latest records."""
        self.rank = rank
        self._next_step = max(0, self.reader.cursors()[0] - first_records)
        rank.begin(self.reader.created, self.reader.last_sign())

    def refresh(self, now: float) -> bool:
        """Read the header again when it is time; True when it changed."""
        if self._generation and now < self._header_read_at + HEADER_SECONDS:
            return False
        self._header_read_at = now
        header = self.reader.header()
        if header is None or header.generation == self._generation:
            return False
        self.data = header.data
        # While the run has no name, it is asked for each time.
        self._generation = header.generation if self.identity() else 0
        return True

    def identity(self) -> tuple[str, int] | None:
        """Run and rank, once the header names them."""
        run_id = self.data.get("run_id")
        return (run_id[:LABEL_CHARACTERS], _whole(self.data, "rank", 0)) if isinstance(run_id, str) else None

    def advance(self, now: float) -> bool:
        """Take over what is new; False when nothing is. Raises OSError where the file cannot be read."""
        rank = self.rank
        self.rows = []
        if rank is None:
            return False
        alive = self.reader.alive()
        if not (alive or self._alive):
            return False
        # Asked in this order, nothing that a rank wrote before it died is missed.
        changed = self.refresh(now) | (alive != self._alive)
        next_step, next_event = self.reader.cursors()
        changed |= self._take_events(rank, next_event) | self._take_steps(rank, next_step)
        self._alive = alive
        if self.is_newest(rank):
            rank.alive, rank.data = alive, self.data
            rank.last_alive = now if alive else rank.last_alive
            rank.count_work()
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
        rank.lost += stop - first - len(known)
        rank.steps += len(known)
        _add(rank.totals, known)
        self._add_retries(rank, known)
        self.rows = known
        if known and self.is_newest(rank):
            _update_latest(rank, known)
        self._next_step = stop
        return True

    def _add_retries(self, rank: Rank, rows: Sequence[StepRow]) -> None:
        """The allocator counts from the start of its process, which is this ring's."""
        for row in rows:
            if self._retries <= row[_RETRIES] < math.inf:
                before = rank.totals.get("allocator_retries", 0.0)
                rank.totals["allocator_retries"] = before + row[_RETRIES] - self._retries
                self._retries = row[_RETRIES]

    def _take_events(self, rank: Rank, stop: int) -> bool:
        first = self._next_event
        if not first < stop < first + 2**32:
            return False
        for event in self.reader.events(first):
            rank.events[event.kind if event.kind in rank.events else OTHER_KIND] += 1
            if self.is_newest(rank):
                rank.nan_seen |= event.kind == "nan"
                rank.ended = event.kind == "end" or (rank.ended and event.kind != "first_step")
                rank.failure = _failure(event) or rank.failure
        self._next_event = stop
        return True


def _whole(data: Mapping[str, Any], key: str, default: int) -> int:
    value = data.get(key)
    return value if type(value) is int and abs(value) < 2**31 else default


def _failure(event: Event) -> Failure | None:
    if event.kind not in FAILURES:
        return None
    exception = event.detail.get("type")
    return Failure(event.kind, exception[:LABEL_CHARACTERS] if isinstance(exception, str) else "", event.step)


def _add(totals: dict[str, float], rows: Sequence[StepRow]) -> None:
    columns = list(zip(*rows, strict=True))
    for name, index in _SUMMED if columns else ():
        known = [value for value in columns[index] if 0.0 <= value < math.inf]
        if known:
            totals[name] = totals.get(name, 0.0) + sum(known)
    for row in rows:
        if 0.0 <= row[_REAL_TOKENS] <= row[_TOKENS] < math.inf:
            totals["real_tokens"] = totals.get("real_tokens", 0.0) + row[_REAL_TOKENS]
            padding = row[_TOKENS] - row[_REAL_TOKENS]
            totals["padding_tokens"] = totals.get("padding_tokens", 0.0) + padding


def _update_latest(rank: Rank, rows: Sequence[StepRow]) -> None:
    for name, index in _LATEST:
        for row in reversed(rows):
            if row[index] == row[index]:
                rank.latest[name] = row[index]
                break
    rank.last_loss = rows[-1][_LOSS]
    rank.recent.extend(
        (row[_TOKENS], row[_STEP_SECONDS])
        for row in rows
        if 0.0 <= row[_TOKENS] < math.inf
        and 0.0 <= row[_STEP_SECONDS] < math.inf
        and not row[_COMPILE_SECONDS] > 0.0
    )
