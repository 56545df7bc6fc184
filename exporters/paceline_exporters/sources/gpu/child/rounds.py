"""When each group of readings is due, and which goes first where a slow driver leaves no time for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from .gpu import Gpu
from .groups import PERIODS

URGENT = ("fast", "processes")
"""Groups that go before the rest. Were `slow` one of them, `rare` would wait for a round of it with each GPU."""
LEAST_REST_SECONDS = 1.0
"""Between rounds, also where the next is overdue: events are told only then, and others want the driver too."""


class Rounds:
    """A round samples what is due. Between two GPUs of a group, the urgent groups before it have their turn when
    they are due, so that what changes by the second on any GPU does not wait for all that changes seldom."""

    def __init__(self, gpus: Callable[[], Iterable[Gpu]], sample: Callable[[str, Gpu], None]) -> None:
        """`gpus`: those to sample now; `sample`: one group of one GPU."""
        self._gpus = gpus
        self._sample = sample
        self._due = dict.fromkeys(PERIODS, time.monotonic())

    def run(self, groups: Sequence[str] = tuple(PERIODS)) -> None:
        """All that is due of these groups."""
        for place, group in enumerate(groups):
            now = time.monotonic()
            if self._due[group] <= now:
                self._due[group] = max(self._due[group] + PERIODS[group], now)
                self._round(group, [each for each in groups[:place] if each in URGENT])

    def rest_until(self) -> float:
        """When the next round begins, monotonic, in seconds."""
        return max(min(self._due.values()), time.monotonic() + LEAST_REST_SECONDS)

    def hasten(self, group: str) -> None:
        """It is due now."""
        self._due[group] = time.monotonic()

    def _round(self, group: str, before: Sequence[str]) -> None:
        began = time.monotonic()
        for gpu in list(self._gpus()):
            if gpu in self._gpus():  # else it was lost since
                self._sample(group, gpu)
                self.run(before)
        if not before:
            # It may be due all the time: half of it is left to the others.
            took = time.monotonic() - began
            self._due[group] = max(self._due[group], began + 2 * took)
