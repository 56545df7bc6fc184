"""The gradient noise scale of a run, from norms that its ranks took anyway: no collective in training.

McCandlish et al. 2018, "An Empirical Model of Large-Batch Training", appendix A.1: with the squared norm of a
gradient over few samples and of one over many,

    |G|^2 = (B_big |G_big|^2 - B_small |G_small|^2) / (B_big - B_small)      what all samples agree on
    S     = (|G_small|^2 - |G_big|^2) / (1 / B_small - 1 / B_big)            trace of a sample's covariance

estimate both without bias, and B_simple = S / |G|^2, in samples. Both are noisy, so they are averaged over the
run, apart from each other, and divided last.

B_small is one micro-step of one rank: its gradients are local until DDP reduces them in the step's last one, so
this needs gradient accumulation. B_big is the whole step, of all ranks, before clipping. A loop divides its loss
by the number of micro-steps, or does not: either way the first micro-step holds one part in so many of the sum,
and times their number it has the scale of the step's own gradient. That scale cancels in B_simple, not in S and
|G|^2. Samples of unequal weight (a loss per token, with batches of uneven length) are taken as equal.

The mean over ranks is exact with all of them. One node sees its own: the estimate stays unbiased, only noisier;
two nodes' averages, weighted by their ranks, make the run's.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from statistics import fmean

DECAY = 0.9
"""Of the averages, per reading. Norms are taken in about 1 step of 100, so 10 readings are 1,000 steps."""
MOST_PENDING = 4
"""Steps that wait for ranks; beyond that the oldest is taken with those it has."""


@dataclass(frozen=True)
class Norms:
    """What one rank recorded of one step."""

    first_micro: float
    """2-norm of its gradients after the first micro-step."""
    step: float
    """2-norm of the step's gradients, over all ranks and micro-steps."""
    micro_steps: float
    samples: float
    """Of this rank in this step."""

    @property
    def usable(self) -> bool:
        """Whether both gradients are known, and differ in their samples."""
        numbers = (self.first_micro, self.step, self.micro_steps, self.samples)
        return all(0.0 < number < math.inf for number in numbers) and self.micro_steps >= 2.0


class NoiseScale:
    """One run's, from the ranks that are seen."""

    def __init__(self) -> None:
        self.readings = 0
        """Steps that were taken in."""
        self.ranks = 0
        """Ranks in the latest of them."""
        self._pending: dict[tuple[int, float], dict[int, Norms]] = {}
        self._taken = (-1, -math.inf)
        self._signal = self._noise = self._weight = 0.0

    def add(self, attempt: int, step: float, rank: int, norms: Norms, expected: int, world_size: int) -> None:
        """One rank's norms of a step, which is complete once `expected` ranks have told theirs. A rank that comes
        after that is too late."""
        key = (attempt, step)
        if not norms.usable or key <= self._taken:
            return
        waiting = self._pending.setdefault(key, {})
        waiting[rank] = norms
        if len(waiting) >= expected:
            self._take(key, world_size)
        elif len(self._pending) > MOST_PENDING:
            self._take(min(self._pending), world_size)

    @property
    def signal(self) -> float | None:
        """|G|^2: squared norm of the true gradient, in the scale of the gradients; None before a reading."""
        return self._signal / self._weight if self.readings else None

    @property
    def noise(self) -> float | None:
        """S: trace of the covariance of one sample's gradient, in that scale; None before a reading."""
        return self._noise / self._weight if self.readings else None

    @property
    def samples(self) -> float | None:
        """B_simple. None while unknown, also where noise hides the signal (an average of it is not positive)."""
        known = self.readings and self._signal > 0.0 and self._noise > 0.0
        return self._noise / self._signal if known else None

    def _take(self, key: tuple[int, float], world_size: int) -> None:
        told = self._pending[key].values()
        # Who waits for an older step waits for ranks that have gone on.
        self._pending = {other: norms for other, norms in self._pending.items() if other > key}
        self._taken = key
        estimate = estimated(told, max(world_size, len(told)))
        if estimate is None:
            return
        self._signal = DECAY * self._signal + (1.0 - DECAY) * estimate[0]
        self._noise = DECAY * self._noise + (1.0 - DECAY) * estimate[1]
        self._weight = DECAY * self._weight + (1.0 - DECAY)
        self.readings += 1
        self.ranks = len(told)


def estimated(told: Collection[Norms], world_size: int) -> tuple[float, float] | None:
    """|G|^2 and S from one step; None where its numbers are beyond what can be squared."""
    small = fmean(norms.samples / norms.micro_steps for norms in told)
    big = fmean(norms.samples for norms in told) * world_size
    try:
        small_square = fmean((norms.first_micro * norms.micro_steps) ** 2 for norms in told)
        big_square = fmean(norms.step**2 for norms in told)
        signal = (big * big_square - small * small_square) / (big - small)
        noise = (small_square - big_square) / (1.0 / small - 1.0 / big)
    except (OverflowError, ZeroDivisionError):
        return None
    return (signal, noise) if math.isfinite(signal) and math.isfinite(noise) else None
