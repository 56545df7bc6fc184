"""Whether communication itself became slower, found step by step.

Every rank waits at the all-reduce, but the slowest rank waits for the network alone: the least wait of all ranks
is the communication that nothing hides. A straggler leaves it as it is, since its own wait does not grow.
"""

from __future__ import annotations

from statistics import median

from .cusum import THRESHOLD, Cusum, Noise
from .findings import Finding
from .jobsteps import JobStep
from .phases import is_disturbed, step_seconds, waiting

REFERENCE = 16
"""Measurements that make the run's own normal."""
WARM_UP_STEPS = 3
FOLLOW = 1.0 / 200.0
"""How fast the normal follows while nothing is suspected."""


class CommunicationWatch:
    """Follows one attempt of a run; feed it its steps in order."""

    def __init__(self) -> None:
        self._seen = 0
        self._first: list[float] = []
        self._normal: float | None = None
        self._noise = Noise()
        self._share: float | None = None
        """The latest wait, of its step."""
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
        before, self._share = self._share, least / seconds
        if before is not None:
            self._noise.learn(abs(self._share - before))
        if self._normal is None:
            self._learn(least)
            return []
        return self._judge(step.number, seconds, least, self._normal)

    def _learn(self, least: float) -> None:
        self._first.append(least)
        if len(self._first) >= REFERENCE:
            self._normal = median(self._first)

    def _judge(self, number: int, seconds: float, least: float, normal: float) -> list[Finding]:
        cusum = self._cusum
        settled = cusum.add(number, (least - normal) / seconds, self._noise.scale, seconds)
        if cusum.sum < THRESHOLD and not cusum.found:
            self._normal = normal + FOLLOW * (least - normal)
        if not settled:
            return []
        return [
            Finding(
                kind="communication",
                cause="communication",
                since_step=cusum.since,
                found_step=number,
                share=cusum.mean,
                numbers={
                    "exposed_seconds": least,
                    "normal_seconds": normal,
                    "step_seconds": seconds,
                    "noise_share": self._noise.sigma,
                },
            )
        ]
