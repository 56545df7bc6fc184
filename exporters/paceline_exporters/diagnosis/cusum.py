"""A one-sided cumulative sum: whether a share of the step that should be near 0 is above it for good.

Page 1954, Continuous inspection schemes. What exceeds `DRIFT` is added up; 10 % too much reaches the threshold
after 3 or 4 measurements, a single slow one does not, since each counts at most `MOST`. The threshold grows with
the noise.
"""

from __future__ import annotations

from dataclasses import dataclass

DRIFT = 0.04
"""Share of the step that is borne for good: no two machines, and no two hours, are equal."""
MOST = 0.12
"""Most that one measurement counts."""
THRESHOLD = 0.14
NOISE_FACTOR = 6.5
"""The threshold is at least so many standard deviations of the noise."""
NOISE_MEMORY = 50.0
"""Measurements over which the noise is learnt."""
STREAK = 3
"""Measurements in a row, all too high, that it takes at least: hiccups come alone or in pairs."""
CALM = 10
"""Measurements in a row, none too high, after which it is over."""
RARE_STEPS = 10
"""What is measured once in so many steps or fewer (DDP's own times) counts `RARE_WEIGHT`: two are enough."""
RARE_WEIGHT = 1.6


@dataclass
class Noise:
    """Standard deviation of a measurement from step to step, learnt from its changes: a lasting shift is one
    change among many."""

    sigma: float = 0.0
    measured: int = 0

    def learn(self, change: float) -> None:
        """Size of the change between a measurement and the one before it, or the mean of several such."""
        self.measured += 1
        # E|X - Y| of two normal deviates is 2 sigma / sqrt(pi).
        self.sigma += (change * 0.886 - self.sigma) / min(self.measured, NOISE_MEMORY)

    @property
    def threshold(self) -> float:
        """Of a cumulative sum under this noise."""
        return max(THRESHOLD, NOISE_FACTOR * self.sigma)


@dataclass(slots=True)
class Cusum:
    """The sum, and what it has found."""

    sum: float = 0.0
    since: int = 0
    """Step at which the sum left 0."""
    found: bool = False
    last_step: int = 0
    last: float | None = None
    """The latest measurement."""
    _total: float = 0.0
    _count: int = 0
    _streak: int = 0
    _calm: int = 0

    @property
    def mean(self) -> float:
        """Of the measurements since `since`, not cut off."""
        return self._total / max(1, self._count)

    def change(self, share: float) -> float:
        """Size of the change from the latest measurement to this one, at most `MOST`; 0 for the first."""
        return 0.0 if self.last is None else min(abs(share - self.last), MOST)

    def add(self, step: int, share: float, threshold: float) -> bool:
        """One measurement; True when it settles what was not found before."""
        rare = step - self.last_step >= RARE_STEPS and self.last is not None
        self.last_step, self.last = step, share
        if share <= DRIFT:
            self._streak, self._calm = 0, self._calm + 1
            if self.sum > 0.0:
                self._sink(share, rare)
            return False
        if self.sum <= 0.0:
            self.since, self._total, self._count = step, 0.0, 0
        self.sum += (RARE_WEIGHT if rare else 1.0) * (min(MOST, share) - DRIFT)
        self._total += share
        self._count += 1
        self._streak, self._calm = self._streak + 1, 0
        if self.found or self.sum < threshold or self._streak < (STREAK - 1 if rare else STREAK):
            return False
        self.found = True
        return True

    def _sink(self, share: float, rare: bool) -> None:
        self.sum = max(0.0, self.sum + (RARE_WEIGHT if rare else 1.0) * (max(-MOST, share) - DRIFT))
        self._total += share
        self._count += 1
        if self.found and self._calm >= CALM:
            self.found, self.sum = False, 0.0
