"""What the process may hang in, said before it does."""

from __future__ import annotations

import time
from collections.abc import Callable

RENEW_SECONDS = 1.0
"""A group of readings is one announcement as long as it takes no longer: the keeper's deadline is for a call that
does not return, not for a driver that takes its time with each of a hundred."""


class Announcer:
    """Says what begins, and that it goes on."""

    def __init__(self, say: Callable[..., None]) -> None:
        self._say = say
        self._what = ("init", "")
        self._at = 0.0

    def begin(self, group: str, who: str) -> None:
        """Calls of this group, about this GPU, begin."""
        self._what = (group, who)
        self._announce(time.monotonic())

    def renew(self, now: float) -> None:
        """Another of its calls begins, at this monotonic time in seconds."""
        if now - self._at >= RENEW_SECONDS:
            self._announce(now)

    def _announce(self, now: float) -> None:
        self._at = now
        self._say("begin", *self._what, now)
