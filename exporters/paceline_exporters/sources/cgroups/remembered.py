"""Control groups of ranks, also for a while after their end: the kernel counts a kill when its victim is gone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .limits import Values

MOST_RANKS = 256
"""Ranks known, as in the steps source."""
Key = tuple[str, str]
"""Run and rank."""


@dataclass
class Remembered:
    """The control group that a rank was last seen in."""

    text: str
    """Its /proc/PID/cgroup."""
    seen: float
    """When it last lived, monotonic, in seconds."""
    values: Values = field(default_factory=dict)
    """The latest: a group may go with its last process."""


class Ranks:
    """By run and rank, those that live and those that ended less than `keep_seconds` ago."""

    def __init__(self, keep_seconds: float) -> None:
        self._keep_seconds = keep_seconds
        self._known: dict[Key, Remembered] = {}

    def see(self, key: Key, text: str, now: float) -> None:
        """It lives, in this group."""
        before = self._known.pop(key, None)  # to the end: the first are those gone longest
        values = before.values if before is not None and before.text == text else {}
        self._known[key] = Remembered(text, now, values)

    def known(self, now: float) -> Iterator[tuple[Key, Remembered]]:
        """All that are to be shown; the others are forgotten."""
        recent = [(key, one) for key, one in self._known.items() if now - one.seen <= self._keep_seconds]
        self._known = dict(recent[-MOST_RANKS:])
        yield from self._known.items()
