"""The ranks of a run, aligned by step number: never by clocks, which differ between nodes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

FieldValues = Mapping[str, float]
"""Names of `layout.STEP_FIELDS` to known values; what is unknown is not in it."""

PATIENCE_STEPS = 64
"""A step that is incomplete when half of the ranks are so many steps ahead is given as it is: some rank may never
report."""
FAR_STEPS = 2 * PATIENCE_STEPS
"""No rank is so far ahead of all others: its number is wrong. Nor do more steps wait."""


@dataclass(frozen=True)
class JobStep:
    """One optimizer step of a run on all ranks that reported it."""

    number: int
    ranks: Mapping[int, FieldValues]
    complete: bool
    """All ranks of the run are in it."""
    views: dict[object, Any] = field(default_factory=dict, compare=False, repr=False)
    """What was made of it once, for all who ask (see `phases`)."""


class Alignment:
    """Collects the records of one attempt as ranks report them, in any order between ranks and in order within
    one, and gives steps back in theirs.

    A restart replays steps from its checkpoint: it is an attempt, and an Alignment, of its own. Where most ranks
    go back within an attempt, a second train() in the same process, steps are given from its first one again.
    """

    def __init__(self, expected_ranks: int) -> None:
        self.expected_ranks = expected_ranks
        """A step is complete with so many ranks."""
        self._begin()

    def _begin(self) -> None:
        self._open: dict[int, dict[int, FieldValues]] = {}
        self._given = -1
        self._last: dict[int, int] = {}
        """Number of each rank's latest record."""
        self._far: dict[int, FieldValues] = {}
        """The latest record of each rank that is far ahead."""
        self._refused = 0
        """Records far ahead since one that was not: where all others are silent it is followed."""
        self._again: dict[int, deque[FieldValues]] = {}
        """Records of the ranks that went back."""

    def add(self, rank: int, values: FieldValues) -> None:
        """One record; one without a step number, or of a step that was given before, is left out."""
        number = int(values.get("step", -1))
        if number <= self._given or number < 0:
            if 0 <= number < self._last.get(rank, -1):
                self._went_back(rank, values)
            return
        self._last[rank] = number
        if self._again:
            self._again.pop(rank, None)
        if self._is_far(rank, number):
            self._refused += 1
            self._far[rank] = values
            if self._refused <= PATIENCE_STEPS:
                return
        else:
            self._refused = 0
        self._open.setdefault(number, {})[rank] = values
        if self._far:
            self._take_those_there_too(rank, number)

    def ready(self) -> Iterator[JobStep]:
        """Steps that are complete, that no rank can add to, or that waited for too long, in order of
        their number; it falls where most ranks began anew."""
        while self._open:
            first = min(self._open)
            ranks = self._open[first]
            if len(ranks) < self.expected_ranks and self._waits(first):
                return
            self._given = first
            yield JobStep(first, self._open.pop(first), len(ranks) >= self.expected_ranks)

    def _waits(self, first: int) -> bool:
        if len(self._open) == 1:
            return True
        last = sorted(self._last.values(), reverse=True)
        passed = sum(number >= first for number in last) >= self.expected_ranks
        half = (self.expected_ranks + 1) // 2
        tired = len(last) >= half and last[half - 1] - first >= PATIENCE_STEPS
        return not passed and not tired and len(self._open) < FAR_STEPS

    def _is_far(self, rank: int, number: int) -> bool:
        limit = number - FAR_STEPS
        if limit <= self._given:
            return False
        others = [last for other, last in self._last.items() if other != rank]
        return bool(others) and max(others) < limit

    def _take_those_there_too(self, rank: int, number: int) -> None:
        """A record that was far ahead until a second rank came there; a rank that is back is far no more."""
        self._far.pop(rank, None)
        for other in [one for one, values in self._far.items() if values["step"] == number]:
            self._open[number][other] = self._far.pop(other)

    def _went_back(self, rank: int, values: FieldValues) -> None:
        self._again.setdefault(rank, deque(maxlen=PATIENCE_STEPS)).append(values)
        if 2 * len(self._again) > self.expected_ranks:
            again = [(one["step"], rank, one) for rank, kept in self._again.items() for one in kept]
            self._begin()
            for _, other, one in sorted(again, key=lambda record: record[:2]):
                self.add(other, one)
