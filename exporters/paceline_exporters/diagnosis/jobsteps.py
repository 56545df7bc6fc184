"""The ranks of a run, aligned by step number: never by clocks, which differ between nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

FieldValues = Mapping[str, float]
"""Names of `layout.STEP_FIELDS` to known values; what is unknown is not in it."""

PATIENCE_STEPS = 64
"""A step that is incomplete when a rank is so many steps ahead is given as it is: some rank may never report."""


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
    """Collects the records of one attempt as ranks report them, in any order, and gives steps back in theirs.

    A restart replays steps from its checkpoint: it is an attempt, and an Alignment, of its own.
    """

    def __init__(self, expected_ranks: int) -> None:
        self.expected_ranks = expected_ranks
        """A step is complete with so many ranks."""
        self._open: dict[int, dict[int, FieldValues]] = {}
        self._given = -1

    def add(self, rank: int, values: FieldValues) -> None:
        """One record; one without a step number, or of a step that was given before, is left out."""
        number = int(values.get("step", -1))
        if number > self._given:
            self._open.setdefault(number, {})[rank] = values

    def ready(self) -> Iterator[JobStep]:
        """Steps that are complete, and those that waited for too long, in order of their number."""
        while self._open:
            first = min(self._open)
            complete = len(self._open[first]) >= self.expected_ranks
            if not complete and max(self._open) - first < PATIENCE_STEPS:
                return
            self._given = first
            yield JobStep(first, self._open.pop(first), complete)
