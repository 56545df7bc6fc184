"""Seconds of work that the number of tokens explains, so that a long batch is not taken for a slow rank."""

from __future__ import annotations

from collections.abc import Mapping

MEMORY_STEPS = 100.0
"""Steps over which the slope is learnt (exponential forgetting)."""
SEEN_STEPS = 3
"""Steps of equal length after which all are taken to be so."""
LEARNT_STEPS = 8
"""Steps before the slope is trusted."""


class TokenSlope:
    """Seconds per token of one phase, learnt over all ranks of a run while it goes.

    Least squares on each rank's deviations from its own mean: a rank that is slow all the time shifts its mean
    and not the slope. Work that does not grow with tokens gets a slope near 0.
    """

    def __init__(self) -> None:
        self._means: dict[int, tuple[float, float]] = {}
        self._covariance = self._variance = 0.0
        self._steps = 0

    @property
    def learnt(self) -> bool:
        """Whether enough was seen, or tokens do not vary."""
        return self._steps >= (LEARNT_STEPS if self._variance else SEEN_STEPS)

    @property
    def slope(self) -> float:
        """Seconds per token, at least 0."""
        return max(0.0, self._covariance / self._variance) if self._variance > 0.0 else 0.0

    def mean_tokens(self, rank: int) -> float:
        """Of the rank, over the memory; 0 for a rank that was never seen."""
        return self._means.get(rank, (0.0, 0.0))[0]

    def learn(self, seconds: Mapping[int, float], tokens: Mapping[int, float]) -> None:
        """One step: seconds and tokens by rank."""
        keep = 1.0 - 1.0 / MEMORY_STEPS
        self._covariance *= keep
        self._variance *= keep
        self._steps += 1
        for rank, x in tokens.items():
            if rank not in seconds:
                continue
            mean_x, mean_y = self._means.get(rank, (x, seconds[rank]))
            weight = max(1.0 / self._steps, 1.0 / MEMORY_STEPS)
            new_x, new_y = mean_x + weight * (x - mean_x), mean_y + weight * (seconds[rank] - mean_y)
            # Welford's update of a covariance: deviation from the old mean times deviation from the new one.
            self._covariance += (x - mean_x) * (seconds[rank] - new_y)
            self._variance += (x - mean_x) * (x - new_x)
            self._means[rank] = (new_x, new_y)

    def without(self, seconds: Mapping[int, float], tokens: Mapping[int, float]) -> dict[int, float]:
        """Seconds by rank as if all had had the same number of tokens: the mean of those that are known."""
        slope = self.slope
        known = [tokens[rank] for rank in seconds if rank in tokens]
        if slope == 0.0 or not known:
            return dict(seconds)
        mean = sum(known) / len(known)
        return {rank: value - slope * (tokens.get(rank, mean) - mean) for rank, value in seconds.items()}
