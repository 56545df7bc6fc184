"""How long the child's rounds take: what a slow driver said last is older than what a quick one did."""

from __future__ import annotations

from .child.groups import PERIODS
from .messages import Message

MOST_SECONDS = 120.0
"""Of a round that are allowed for: readings older still are nobody's."""


class Pace:
    """Follows what the child begins. A round that does not go on, because a call hangs, grows no longer."""

    def __init__(self) -> None:
        self._began: float | None = None
        """When the round that runs began; None between rounds."""
        self._latest = 0.0
        """When its latest call is known to have begun."""
        self._last = 0.0
        """How long the last round took, in seconds."""

    @property
    def round_seconds(self) -> float:
        """Of the round that runs, so far, or of the last one, whichever is longer."""
        return min(max(self._last, self._so_far), MOST_SECONDS)

    def note(self, message: Message) -> None:
        """Take what a message says of it."""
        match message:
            case ["begin", "init", "", _]:  # another child
                self._began = None
            case ["begin", group, _, at] if group in PERIODS:
                self._began, self._latest = at if self._began is None else self._began, at
            case ["rest", *_]:
                self._last, self._began = self._so_far, None

    @property
    def _so_far(self) -> float:
        return 0.0 if self._began is None else self._latest - self._began
