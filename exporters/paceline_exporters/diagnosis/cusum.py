"""A one-sided cumulative sum: whether a share of the step that should be near 0 is above it for good.

Page 1954, Continuous inspection schemes. What exceeds `DRIFT` is added up; 10 % too much reaches the threshold
after 3 or 4 measurements, a single slow one does not, since each counts at most `MOST`.

Hiccups that come often coincide: how often is learnt, and a second sum, of the likelihood ratio of a straggler
over such hiccups, has to agree.

Where ranks share cores with each other, or a network with others, shares jitter by a tenth of the step and more,
and stay high for seconds while somebody else is at work. There a change has to be large beside the noise, and to
last: measurements count the less the more noise there is, and nothing is settled for so long.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

DRIFT = 0.04
"""Share of the step that is borne for good: no two machines, and no two hours, are equal."""
MOST = 0.12
"""Most that one measurement counts."""
THRESHOLD = 0.14
QUIET = 0.025
"""Noise, as a share of the step, up to which measurements count in full; noisier ones are scaled down to it."""
NOISE_MEMORY = 50.0
"""Measurements over which the noise is learnt."""
MOST_SUM = 2.0
"""Of the sum, in thresholds: what lasted for long is over as soon as what lasted for a moment."""
STREAK = 3
"""Measurements in a row, all too high, that it takes at least: hiccups come alone or in pairs."""
SLOW = 0.06
"""Share of the step above which a measurement is one of a straggler, or a hiccup."""
SLOW_RATE = 0.75
"""How many of a straggler's measurements are above it."""
SURE = 14.0
"""Logarithm of how much likelier a straggler than hiccups has to be: a run has 1e5 or 1e6 chances."""
HICCUP_MEMORY = 2000.0
"""Measurements, of all ranks together, over which the rate of hiccups is learnt."""
MOST_HICCUPS = 0.5
"""Rate above which hiccups are not believed to be such."""
CALM = 10
"""Measurements in a row, none too high, after which it is over."""
LEVEL = 1.0 / 6.0
"""What the newest measurement counts in their level."""
LASTING_SECONDS = 15.0
"""What a change has to last in a job that is all noise; in a quiet one it need not."""
RARE_STEPS = 16
"""What is measured once in so many steps or fewer (DDP's own times) counts `RARE_WEIGHT`: two are enough."""
RARE_WEIGHT = 1.6


@dataclass
class Noise:
    """Standard deviation of a measurement from step to step, learnt from its changes: a lasting shift is one
    change among many."""

    sigma: float = 0.05
    measured: int = 4
    """As if so many measurements had shown so much noise: a run's first ones may look alike by chance."""

    def learn(self, change: float) -> None:
        """Size of the change between a measurement and the one before it, or the mean of several such."""
        self.measured += 1
        # E|X - Y| of two normal deviates is 2 sigma / sqrt(pi).
        self.sigma += (change * 0.886 - self.sigma) / min(self.measured, NOISE_MEMORY)

    @property
    def scale(self) -> float:
        """How much of its size a measurement counts, at most 1."""
        return QUIET / max(QUIET, self.sigma)


@dataclass
class Hiccups:
    """How often a measurement is above `SLOW` where nobody is slow for good. What lasts counts once, when it
    ends: a straggler is no hiccup."""

    rate: float = 0.018
    measured: float = 20.0
    """As if so many measurements had shown that rate."""
    slow: float = SLOW
    sure: float = SURE
    gain: float = SURE / STREAK
    """What a measurement above `SLOW` adds to the logarithm of the likelihood ratio, a straggler over hiccups."""
    loss: float = -math.inf
    """And what one below it adds."""

    def learn(self, hiccups: int, measurements: int) -> None:
        """So many hiccups ended, and so many measurements were not slow."""
        if not measurements:
            return
        self.measured = min(HICCUP_MEMORY, self.measured + measurements)
        self.rate += (hiccups - measurements * self.rate) / self.measured
        rate = min(MOST_HICCUPS, self.rate)
        self.gain = min(self.sure / STREAK, math.log(SLOW_RATE / max(rate, 1e-9)))
        self.loss = math.log((1.0 - SLOW_RATE) / (1.0 - rate))


STREAKS = Hiccups()
"""Where hiccups are not learnt: nothing is settled before `STREAK` measurements in a row."""


@dataclass(slots=True)
class Cusum:
    """The sum, and what it has found."""

    sum: float = 0.0
    since: int = 0
    """Step at which the sum left 0."""
    found: bool = False
    lasted: float = 0.0
    """Seconds since then."""
    last_step: int = 0
    last: float | None = None
    """The latest measurement."""
    before: float = 0.0
    """The one before it."""
    level: float = 0.0
    """Mean of the latest measurements, the newest ones most."""
    rare_steps: float = RARE_STEPS
    _total: float = 0.0
    _count: int = 0
    slow: bool = False
    """Whether the latest measurement is above `SLOW`."""
    _sure: float = 0.0
    _calm: int = 0

    @property
    def both(self) -> float:
        """What the latest two measurements both have: a hiccup in one of them counts for nothing."""
        return min(self.last or 0.0, self.before)

    @property
    def mean(self) -> float:
        """Of the measurements since `since`, not cut off."""
        return self._total / max(1, self._count)

    def change(self, share: float) -> float:
        """Size of the change from the latest measurement to this one, at most `MOST`; 0 for the first."""
        return 0.0 if self.last is None else min(abs(share - self.last), MOST)

    def add(
        self,
        step: int,
        share: float,
        scale: float,
        seconds: float,
        hiccups: Hiccups = STREAKS,
        whole: float | None = None,
    ) -> bool:
        """One measurement; True when it settles what was not found before.

        `scale`: how much of its size it counts; `seconds`: that a step takes; `whole`: what goes into the mean
        where `share` is cut off.
        """
        rare = step - self.last_step >= self.rare_steps and self.last is not None
        self.lasted = self.lasted + (step - self.last_step) * seconds if self.sum > 0.0 else 0.0
        self.last_step, self.before, self.last = step, self.last or 0.0, share
        self.level += LEVEL * (share - self.level)
        if self.sum <= 0.0 and scale * share <= DRIFT and not self.found:  # nearly always
            self.slow, self._calm = False, self._calm + 1
            self._sure = max(0.0, self._sure + hiccups.loss)
            return False
        counts = max(-MOST, min(MOST, scale * share)) - DRIFT
        weight = RARE_WEIGHT if rare else 1.0
        self.slow = counts > (hiccups.slow - DRIFT if hiccups is not STREAKS else 0.0)
        self._sure = max(0.0, self._sure + (weight * hiccups.gain if self.slow else hiccups.loss))
        if counts > 0.0:
            self._calm = 0
            if self.sum <= 0.0:
                self.since, self._total, self._count = step, 0.0, 0
        else:
            self._calm += 1
        if counts > 0.0 or self.sum > 0.0:
            self.sum = min(MOST_SUM * THRESHOLD, max(0.0, self.sum + weight * counts))
            self._total += share if whole is None else whole
            self._count += 1
        if self.found:
            if self._calm >= CALM:
                self.found, self.sum = False, 0.0
            return False
        lasting = self.lasted >= LASTING_SECONDS * (1.0 - scale)
        self.found = lasting and self._sure >= hiccups.sure - 1e-9 and self.sum >= THRESHOLD
        return self.found
