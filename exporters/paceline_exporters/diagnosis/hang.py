"""Whether a run stands still, and on which rank.

Ranks wait for each other, so the one to judge is the one least far: the earliest step, and in it the earliest
phase. It stands still when it has been in its phase for the longer of 10 s and 5 times the phase's 99th
percentile. A rank that evaluates or saves is judged by how long that took before, and those who wait with it.
Of the first step nothing is known from before: it has a long time, less where others of the run are past it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .endings import IN_ORDER, Ending, waited_for
from .findings import Finding
from .jobsteps import FieldValues, JobStep

LEAST_SECONDS = 10.0
TIMES_P99 = 5.0
UNKNOWN_SECONDS = 300.0
"""For a phase that the run has not ended before: its first evaluation may be long."""
FIRST_SECONDS = 600.0
"""For the rank's own work in the first step: it compiles, builds kernels, fills caches, downloads."""
UNSAID_SECONDS = 1800.0
"""Where no rank has said yet what it does: between DDP's making and the first batch or backward() data may be
prepared. As long as the alert on runs that make no first step waits."""
ELSEWHERE_SECONDS = 60.0
"""Where ranks that are not seen from here may be the ones waited for: they may well evaluate or save."""
BETWEEN_SECONDS = 60.0
"""Between steps. There nearly every step is for no time at all, so that 5 times the 99th percentile would be less
than 10 s; but an evaluation or a checkpoint that nobody told apart is there too, once in hundreds of steps, and
to take the first one for a standstill would be a false alarm in most runs. Most of them take less than a minute;
longer ones are learnt when they end. In the phases of a step proper the 10 s hold."""
# Phases as a rank goes through them within a step; field with the phase's seconds.
PHASE_FIELDS: Mapping[str, str] = {
    "pause": "pause_seconds",
    "evaluation": "evaluation_seconds",
    "checkpoint": "checkpoint_seconds",
    "data_wait": "data_wait_seconds",
    "sync_wait": "sync_wait_seconds",
    "forward": "forward_seconds",
    "backward": "backward_seconds",
    "optimizer": "optimizer_seconds",
    "other": "other_seconds",
}
ORDER = {phase: place for place, phase in enumerate(PHASE_FIELDS)}
PAUSES = ("pause", "evaluation", "checkpoint")
LEAST_TOLD = {"pause": BETWEEN_SECONDS / TIMES_P99, "evaluation": 0.0, "checkpoint": 0.0}
"""Seconds; 5 times a shorter one is within the limit anyway, and would make the longer ones be forgotten."""
WAITING = ("sync_wait", "backward", "optimizer", "other")
"""Phases in which a rank may wait for others."""


@dataclass(frozen=True)
class Progress:
    """Where a rank is now."""

    step: int
    """The latest optimizer step that it ended; 0 before it ended one."""
    phase: str
    """Key of PHASE_FIELDS; empty where the ring does not say."""
    seconds: float
    """For how long."""
    step_age: float | None = None
    """Seconds since its latest step ended; None before the first, and where it is not known."""


class HangWatch:
    """Follows one attempt of a run; says each standstill once."""

    def __init__(self) -> None:
        self.current: Finding | None = None
        """The standstill as the latest look has it, while it lasts."""
        self._pauses: dict[str, deque[float]] = {phase: deque(maxlen=64) for phase in PAUSES}

    def learn(self, values: FieldValues) -> None:
        """One step record: how long the rare phases take."""
        for phase, durations in self._pauses.items():
            seconds = values.get(PHASE_FIELDS[phase], 0.0) if phase != "pause" else _between_steps(values)
            if seconds > LEAST_TOLD[phase]:
                durations.append(seconds)

    def look(
        self,
        ranks: Mapping[int, Progress],
        latest: Sequence[JobStep],
        everyone: bool,
        gone: Mapping[int, Ending] | None = None,
    ) -> Finding | None:
        """A standstill that was not told before.

        `ranks`: those that live and train; `everyone`: no other rank of the run lives and trains; `latest`: its
        latest steps; `gone`: ranks that train no more.
        """
        before, self.current = self.current, self._standstill(ranks, latest, everyone, gone or {})
        # Whom it is laid to may change while it lasts, its step does not.
        told = before is not None and self.current is not None and before.since_step == self.current.since_step
        return None if told else self.current

    def _standstill(
        self, ranks: Mapping[int, Progress], latest: Sequence[JobStep], everyone: bool, gone: Mapping[int, Ending]
    ) -> Finding | None:
        if not ranks:
            return None
        rank = min(ranks, key=lambda one: (*_order(ranks[one]), one))
        where = ranks[rank]
        if where.seconds <= LEAST_SECONDS:  # no limit is shorter
            return None
        if where.step == 0 and where.phase not in PAUSES:
            limit = ELSEWHERE_SECONDS if gone else _first_limit(where, ranks.values())
        else:
            limit = self._limit(where.phase, latest)
        if where.phase in PAUSES and any(how.word in IN_ORDER for how in gone.values()):
            # The run is over; this rank still evaluates, saves or uploads, and waits for nobody.
            gone, limit = {}, max(limit, UNKNOWN_SECONDS)
        if not everyone and where.phase in WAITING:
            limit = max(limit, ELSEWHERE_SECONDS, 2.0 * max(map(_longest, self._pauses.values())))
        if where.seconds <= limit:
            return None
        alone = len(ranks) == 1 or any(_place(one) != _place(where) for one in ranks.values())
        # One that is gone is the one waited for, whatever the others do.
        blamed = waited_for(gone) if gone else rank if alone else None
        return Finding(
            kind="hang",
            cause="unknown",
            since_step=where.step + 1,
            found_step=where.step + 1,
            rank=blamed,
            phase=where.phase,
            numbers={"silent_seconds": where.seconds, "limit_seconds": limit, "ranks": float(len(ranks))},
        )

    def _limit(self, phase: str, latest: Iterable[JobStep]) -> float:
        if phase in PAUSES:
            seen: Iterable[float] = self._pauses[phase]
        else:
            field = PHASE_FIELDS.get(phase, "step_seconds")
            seen = (values[field] for step in latest for values in step.ranks.values() if field in values)
        p99 = percentile_99(seen)
        if p99 is None:
            return BETWEEN_SECONDS if phase == "pause" else UNKNOWN_SECONDS
        return max(LEAST_SECONDS, TIMES_P99 * p99)


def _first_limit(where: Progress, ranks: Iterable[Progress]) -> float:
    """In the first step, seconds; where others are past what the rank does, 5 times what it took them."""
    if where.phase in WAITING:
        return UNKNOWN_SECONDS
    longest = FIRST_SECONDS if where.phase else UNSAID_SECONDS
    # Ranks that have ended steps were there before this one was restarted.
    past = max((one.seconds for one in ranks if one.step == 0 and _order(one) > _order(where)), default=0.0)
    return min(longest, max(ELSEWHERE_SECONDS, TIMES_P99 * (where.seconds - past))) if past else longest


def percentile_99(values: Iterable[float]) -> float | None:
    """The nearest-rank 99th percentile; None of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))] if ordered else None


def _between_steps(values: FieldValues) -> float:
    """How long the ring may have said `pause`: what nobody told apart is part of `other`, and without a watched
    loader, in a single process, the forward pass is between steps too."""
    fields = ("pause_seconds", "other_seconds", *(() if "data_wait_seconds" in values else ("forward_seconds",)))
    return sum(values.get(field, 0.0) for field in fields)


def _longest(durations: Iterable[float]) -> float:
    return max(durations, default=0.0)


def _order(progress: Progress) -> tuple[int, int]:
    """How far a rank is."""
    return progress.step, ORDER.get(progress.phase, 0)


def _place(progress: Progress) -> tuple[int, str]:
    return progress.step, progress.phase
