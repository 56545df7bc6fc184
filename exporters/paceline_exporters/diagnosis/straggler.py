"""Which rank the others wait for, and in which phase, found step by step.

Per phase, a rank's excess is its own work less the median of the other ranks', as a share of the step; a
cumulative sum per rank and phase says when it is there for good.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .cusum import Cusum, Hiccups, Noise
from .findings import Finding
from .jobsteps import JobStep
from .phases import SCALES_WITH_TOKENS, TOKENS, WORK, first, is_disturbed, step_seconds
from .tokens import TokenSlope

WARM_UP_STEPS = 3
"""First steps of a run allocate, compile and fill caches."""


@dataclass
class _Phase:
    """One phase on all ranks."""

    slope: TokenSlope = field(default_factory=TokenSlope)
    noise: Noise = field(default_factory=Noise)
    hiccups: Hiccups = field(default_factory=Hiccups)
    ranks: dict[int, Cusum] = field(default_factory=dict)

    def take(self, step: int, seconds: float, work: dict[int, float], tokens: dict[int, float]) -> list[int]:
        """One step; the ranks that are found with it."""
        if tokens:
            equal = self.slope.without(work, tokens)
            self.slope.learn(work, tokens)
            work = equal
        scale, ranks = self.noise.scale, self.ranks
        trusted = not tokens or self.slope.learnt
        change, found = 0.0, []
        ended = calm = 0
        for rank, more in beyond_others(work):
            one = ranks.get(rank) or ranks.setdefault(rank, Cusum())
            share = more / seconds
            change += one.change(share)
            if trusted:
                was_slow = one.slow
                if one.add(step, share, scale, seconds, self.hiccups):
                    found.append(rank)
                if not one.slow:
                    calm += 1
                    ended += was_slow
        self.noise.learn(change / len(work))
        self.hiccups.learn(ended, calm)
        return found


class StragglerWatch:
    """Follows one attempt of a run; feed it its steps in order."""

    def __init__(self) -> None:
        self._phases = {phase: _Phase() for phase in WORK}
        self._seen = 0

    def add(self, step: JobStep) -> list[Finding]:
        """What this step settled: a finding per rank and phase, once until it calms down."""
        seconds = step_seconds(step)
        if not seconds or len(step.ranks) < 2 or is_disturbed(step):
            return []
        self._seen += 1
        return list(self._found(step, seconds)) if self._seen > WARM_UP_STEPS else []

    def current(self) -> list[tuple[int, str, float]]:
        """Stragglers now: rank, phase, share of the step; the costliest first."""
        found = [
            (rank, name, one.mean)
            for name, phase in self._phases.items()
            for rank, one in phase.ranks.items()
            if one.found
        ]
        return sorted(found, key=lambda one: -one[2])

    def _found(self, step: JobStep, seconds: float) -> Iterator[Finding]:
        tokens = first(step, TOKENS)
        for name, phase in self._phases.items():
            work = first(step, WORK[name])
            if len(work) < 2:
                continue
            counts = tokens if name in SCALES_WITH_TOKENS else {}
            for rank in phase.take(step.number, seconds, work, counts):
                one = phase.ranks[rank]
                yield Finding(
                    kind="straggler",
                    cause="data" if name == "data_wait" else "compute",
                    since_step=one.since,
                    found_step=step.number,
                    rank=rank,
                    phase=name,
                    share=one.mean,
                    numbers={
                        "excess_seconds": one.mean * seconds,
                        "step_seconds": seconds,
                        "noise_share": phase.noise.sigma,
                    },
                )


def beyond_others(values: Mapping[int, float]) -> Iterator[tuple[int, float]]:
    """Each rank and its value less the median of the others'; two or more ranks."""
    order = sorted(values, key=values.__getitem__)
    ordered = [values[rank] for rank in order]
    left = len(ordered) - 1
    low, high = (left - 1) // 2, left // 2
    for place, rank in enumerate(order):
        # The two middle ones of the list without the element at `place`.
        yield rank, ordered[place] - (ordered[low + (low >= place)] + ordered[high + (high >= place)]) / 2
