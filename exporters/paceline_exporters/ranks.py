"""What each rank of each run did so far, across restarts of the rank.

The files are untrusted: a number is taken over only when it is finite, a total only grows, text is cut.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .attach import layout
from .following import LABEL_CHARACTERS, Follower, News, text, whole
from .messages import Event
from .rings import StepRow

OTHER_KIND = "other"
"""Stands for event kinds that this version does not know."""
RECENT_STEPS = 50
"""Steps that "recent" means."""
FAILURES = ("oom", "exception")
"""Kinds of events that end training and name the exception."""

_INDEX = {name: index for index, name in enumerate(layout.STEP_FIELDS)}
_LOSS = _INDEX["loss"]
_TOKENS, _REAL_TOKENS = _INDEX["tokens"], _INDEX["real_tokens"]
_STEP_SECONDS, _COMPILE_SECONDS = _INDEX["step_seconds"], _INDEX["compile_seconds"]
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
    tokens_worked: float = 0.0
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

    def begin(self, follower: Follower) -> None:
        """A ring of this rank appeared; if it is the newest attempt, its values count from now on."""
        if follower.created >= self.created:
            self.created = follower.created
            self.latest.clear()
            self.recent.clear()
            self.last_loss, self.nan_seen, self.ended = None, False, False
            self.see(follower)

    def is_of(self, follower: Follower) -> bool:
        """Whether this ring is the newest attempt, whose latest values count."""
        return follower.created >= self.created

    def see(self, follower: Follower) -> None:
        """How the newest attempt's ring is now."""
        if self.is_of(follower):
            self.alive, self.data = follower.alive, follower.data
            self.last_alive = max(self.last_alive, follower.last_alive)

    def take(self, news: News) -> None:
        """Take over what is new in one of this rank's rings."""
        newest = self.is_of(news.follower)
        for event in news.events:
            self._take_event(event, newest)
        self.lost += news.lost
        self.steps += len(news.fresh)
        _add(self.totals, news.fresh)
        if news.retries is not None:
            self.totals["allocator_retries"] = self.totals.get("allocator_retries", 0.0) + news.retries
        if news.rows and newest:
            _update_latest(self, news.rows)
        self.see(news.follower)
        if newest:
            self.count_work()

    def _take_event(self, event: Event, newest: bool) -> None:
        self.events[event.kind if event.kind in self.events else OTHER_KIND] += 1
        if newest:
            self.nan_seen |= event.kind == "nan"
            self.ended = event.kind == "end" or (self.ended and event.kind != "first_step")
            self.failure = _failure(event) or self.failure

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
            self.flops = (self.flops or 0.0) + (tokens - self.tokens_worked) * rate
            self.tokens_worked = tokens

    def whole(self, key: str, default: int = 0) -> int:
        """An integer of the header."""
        return whole(self.data, key, default)

    def number(self, key: str) -> float | None:
        """A number of the header, None where unknown."""
        value = self.data.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if abs(value) < 2**63 else None

    def text(self, key: str, within: str = "") -> str:
        """A label value from the header, empty where unknown."""
        return text(self.data, key, within)


def _failure(event: Event) -> Failure | None:
    if event.kind not in FAILURES:
        return None
    exception = event.detail.get("type")
    return Failure(event.kind, exception[:LABEL_CHARACTERS] if isinstance(exception, str) else "", event.step)


def _add(totals: dict[str, float], rows: Sequence[StepRow]) -> None:
    columns = list(zip(*rows, strict=True))
    for name, index in _SUMMED if columns else ():
        column = columns[index]
        total = sum(column)
        if not (0.0 <= total < math.inf and min(column) >= 0.0):  # some are unknown, or no amounts
            column = tuple(value for value in column if 0.0 <= value < math.inf)
            total = sum(column)
        if column:
            totals[name] = totals.get(name, 0.0) + total
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
