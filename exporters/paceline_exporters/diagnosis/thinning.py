"""Which steps of a fast job are looked at: what a diagnosis costs must not grow with the steps per second.

Steps are left out rather than averaged: what is learnt of a single step's noise stays true.
"""

from __future__ import annotations

from collections import deque
from statistics import median
from zlib import crc32

from .cusum import RARE_STEPS
from .jobsteps import PATIENCE_STEPS, FieldValues, JobStep
from .phases import step_seconds

LOOK_SECONDS = 0.25
"""Time between the steps looked at, at most, unless steps are as long: eight are in the two seconds in which a
straggler is to be found."""
MOST = 8
"""One step in so many at least; more would pass for measurements that are rare by nature."""
LEARNING_STEPS = 100
"""First steps of a run, of which none is left out; how long steps are is asked for as often."""
MOST_STEPS = 1e15
ALWAYS = "ddp_compute_seconds"
"""Known in one step of many: those are looked at."""
assert 2 * MOST <= RARE_STEPS


class Thinning:
    """Follows one attempt of a run."""

    def __init__(self) -> None:
        self._every = self._before = 1
        self._since = 0
        """The step from which `_every` holds; for those before it, `_before`."""
        self._seconds: deque[float] = deque(maxlen=LEARNING_STEPS)

    def leaves_out(self, number: float) -> bool:
        """Whether a step of this number is not looked at, on any rank; one that is no number is."""
        every = self._every if number >= self._since else self._before
        return every > 1 and abs(number) < MOST_STEPS and not _is_chosen(int(number), every)

    def skips(self, values: FieldValues) -> bool:
        """The same of a record."""
        return ALWAYS not in values and self.leaves_out(values.get("step", 0.0))

    def learn(self, step: JobStep) -> None:
        """A step that is looked at."""
        self._seconds.append(step_seconds(step) or LOOK_SECONDS)
        if len(self._seconds) == LEARNING_STEPS:
            every = one_in(median(self._seconds))
            self._seconds.clear()
            if every != self._every:
                # Of the steps until then some rank may have told already.
                self._before, self._every, self._since = self._every, every, step.number + PATIENCE_STEPS


def _is_chosen(number: int, every: int) -> bool:
    """One step of each `every`, by a hash: what a rank does each so many steps is met as often as it happens, and
    all ranks choose the same."""
    block, place = divmod(number, every)
    return crc32(block.to_bytes(8, "little", signed=True)) % every == place


def one_in(seconds: float) -> int:
    """Of steps of this length one in so many, a power of 2, is looked at."""
    every = 1
    while every < MOST and 2 * every * seconds <= LOOK_SECONDS:
        every *= 2
    return every
