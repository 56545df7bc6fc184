"""Counts of events that nobody can foresee, shown so that an alert sees the first one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

HOLD_SECONDS = 60.0
"""Prometheus sees an increase only between two samples, and scrapes come up to so far apart."""
Key = tuple[str, int]
"""Device and code."""


class Tally:
    """Counts per device and code. A series that nobody foresaw is shown as 0 first and with its count after
    HOLD_SECONDS: one that appeared at 1 would fire no alert on increase()."""

    def __init__(self, rows: Iterable[Sequence[Any]] = ()) -> None:
        """With the rows of an earlier `encode`. Raises ValueError and TypeError for what is none."""
        self.counts: dict[Key, int] = {(str(device), int(code)): int(count) for device, code, count in rows}
        self._held: dict[Key, float] = {}

    def add(self, key: Key, hold_from: float | None) -> None:
        """Count one; `hold_from` (monotonic seconds) where the series would be new to those who scrape."""
        if hold_from is not None and key not in self.counts:
            self._held[key] = hold_from
        self.counts[key] = self.counts.get(key, 0) + 1

    def shown(self, key: Key, now: float) -> int:
        """The value to serve."""
        held = self._held.get(key)
        return 0 if held is not None and now - held < HOLD_SECONDS else self.counts.get(key, 0)

    def rename(self, old: str, new: str) -> None:
        """One device's counts are another's from now on."""
        for key in [key for key in self.counts if key[0] == old]:
            self._held.pop(key, None)
            self.counts[new, key[1]] = self.counts.get((new, key[1]), 0) + self.counts.pop(key)

    def encode(self) -> list[tuple[str, int, int]]:
        """Device, code and count of each."""
        return [(device, code, count) for (device, code), count in self.counts.items()]
