"""Whether communication itself became slower, found step by step.

Every rank waits at the all-reduce, but the slowest rank waits for the network alone: the least wait of all ranks
is the communication that nothing hides. A straggler leaves it as it is, since its own wait does not grow.
"""

from __future__ import annotations

from statistics import median

from .cusum import Cusum, Noise
from .findings import Finding
from .jobsteps import JobStep
from .phases import is_disturbed, step_seconds, waiting

REFERENCE = 16
"""Measurements that make the run's own normal."""
WARM_UP_STEPS = 3
FOLLOW = 1.0 / 200.0
"""How fast the normal follows while nothing is found."""


class CommunicationWatch:
    """Follows one attempt of a run; feed it its steps in order."""

    def __init__(self) -> None:
        self._seen = 0
        self._first: list[float] = []
        self._normal: float | None = None
        self._noise = Noise()
        self._cusum = Cusum()

    @property
    def normal_seconds(self) -> float | None:
        """Unhidden communication per step as this run has it when nothing is wrong; None before it is learnt."""
        return self._normal

    @property
    def current(self) -> bool:
        """Whether it is slower now."""
        return self._cusum.found

    def add(self, step: JobStep) -> list[Finding]:
        """What this step settled: at most one finding, once until it calms down."""
        waits, seconds = waiting(step), step_seconds(step)
        self._seen += 1
        if not seconds or len(waits) < 2 or is_disturbed(step) or self._seen <= WARM_UP_STEPS:
            return []
        least = min(waits.values())
        if self._normal is None:
            self._learn(least)
            return []
        return self._judge(step.number, seconds, least)

    def _learn(self, least: float) -> None:
        self._first.append(least)
        if len(self._first) >= REFERENCE:
            self._normal = median(self._first)

    def _judge(self, number: int, seconds: float, least: float) -> list[Finding]:
        assert self._normal is not None
        share = (least - self._normal) / seconds
        self._noise.learn(self._cusum.change(share))
        settled = self._cusum.add(number, share, self._noise.threshold)
        if self._cusum.sum == 0.0:
            self._normal += FOLLOW * (least - self._normal)
        if not settled:
            return []
        return [
            Finding(
                kind="communication",
                cause="communication",
                since_step=self._cusum.since,
                found_step=number,
                share=self._cusum.mean,
                numbers={
                    "exposed_seconds": least,
                    "normal_seconds": self._normal,
                    "step_seconds": seconds,
                    "noise_share": self._noise.sigma,
                },
            )
        ]
