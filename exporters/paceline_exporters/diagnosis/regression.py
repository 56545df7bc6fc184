"""Whether the run's steps became longer than they were, whatever the cause: a change point in its own history.

Steps are taken in blocks, by their median: a job's step time has hiccups, and there is no hurry. A regression
holds while the steps stay longer than they were before it, also when that has become the run's new normal.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from statistics import fmean, median

from .cusum import DRIFT, STREAK, Cusum, Noise
from .findings import Finding
from .jobsteps import JobStep
from .phases import TOKENS, first, is_disturbed, step_seconds
from .tokens import TokenSlope

BLOCK_STEPS = 8
REFERENCE_BLOCKS = 8
"""Blocks that make the run's own normal, at its start and after a change that stayed."""
WARM_UP_STEPS = 3
SETTLE_BLOCKS = 25
"""A change that lasts so long is the new normal: what comes on top of it is told as well."""


class RegressionWatch:
    """Follows one attempt of a run; feed it its steps in order."""

    def __init__(self) -> None:
        self._slope = TokenSlope()
        self._reference: float | None = None
        """Tokens of the longest batch that steps are compared at: a mean that follows would hide growth."""
        self._usual_tokens = 0.0
        """The same, mean over the blocks that made the first normal; 0: unknown."""
        self._tokens: deque[float] = deque(maxlen=REFERENCE_BLOCKS * BLOCK_STEPS)
        """Of the longest batch of the latest steps."""
        self._block: list[tuple[int, float]] = []
        self._recent: deque[float] = deque(maxlen=REFERENCE_BLOCKS)
        self._normal: float | None = None
        self._noise = Noise()
        self._cusum = _sum()
        self._held = 0
        """Blocks since the sum left 0."""
        self._seen = 0
        self._before: dict[int, float] = {}
        """By the first step of a regression that holds: the normal before it."""

    @property
    def normal_seconds(self) -> float | None:
        """The step as this run has it when nothing is wrong; None before it is learnt."""
        return self._normal

    @property
    def current(self) -> Mapping[int, float]:
        """Regressions that hold: by their first step, what of a step's time now is more than before it."""
        return {since: 1.0 - normal / self._level() for since, normal in self._before.items()}

    def add(self, step: JobStep) -> list[Finding]:
        """What this step settled: at most one finding, once until it is over or becomes the normal."""
        wall = step_seconds(step)
        self._seen += 1
        if not wall or is_disturbed(step) or self._seen <= WARM_UP_STEPS:
            return []
        equal = self._of_equal_length(step, wall)
        if equal is None:
            return []
        self._block.append((step.number, equal))
        if len(self._block) < BLOCK_STEPS:
            return []
        begun, seconds = self._block[0][0], median(seconds for _, seconds in self._block)
        self._block.clear()
        self._recent.append(seconds)
        if self._normal is None:
            if len(self._recent) == REFERENCE_BLOCKS:
                self._normal = median(self._recent)
                self._usual_tokens = fmean(self._tokens) if self._tokens else 0.0
            return []
        self._end_what_is_over()
        return self._judge(begun, step.number, seconds, self._normal)

    def _of_equal_length(self, step: JobStep, wall: float) -> float | None:
        """The step lasts as long as its longest batch: seconds as if that were as long as the run's first ones;
        None before it is known what length costs."""
        longest = max(first(step, TOKENS).values(), default=None)
        if longest is None:
            return wall
        self._slope.learn({0: wall}, {0: longest})
        self._tokens.append(longest)
        if not self._slope.learnt:
            return None
        if self._reference is None:
            self._reference = self._slope.mean_tokens(0)
        return wall - self._slope.slope * (longest - self._reference)

    def _longer(self) -> float:
        """How many times as long the longest batches are as when the normal was learnt."""
        latest = list(self._tokens)[-STREAK * BLOCK_STEPS :]
        return fmean(latest) / self._usual_tokens if latest and self._usual_tokens else 1.0

    def _level(self) -> float:
        """Of the latest blocks, as many as it takes to find a regression."""
        return median(list(self._recent)[-STREAK:])

    def _end_what_is_over(self) -> None:
        level = self._level()
        over = [since for since, normal in self._before.items() if level <= normal * (1.0 + DRIFT)]
        if over:
            self._normal, self._cusum = min(self._before.pop(since) for since in over), _sum()

    def _judge(self, begun: int, number: int, seconds: float, normal: float) -> list[Finding]:
        share = seconds / normal - 1.0
        self._noise.learn(self._cusum.change(share))
        settled = self._cusum.add(begun, share, self._noise.scale, seconds)
        self._held = self._held + 1 if self._cusum.sum > 0.0 else 0
        if self._cusum.found and self._held >= SETTLE_BLOCKS:
            self._normal, self._cusum = median(self._recent), _sum()
        if not settled:
            return []
        self._before[self._cusum.since] = normal
        # Attention's cost grows with the square of the length: what the slope leaves over is of it as well.
        longer = self._longer() >= max(1.0 + DRIFT, math.sqrt(self._level() / normal))
        return [
            Finding(
                kind="regression",
                cause="longer_batches" if longer else "unknown",
                since_step=self._cusum.since,
                found_step=number,
                share=1.0 - normal / self._level(),
                numbers={"step_seconds": seconds, "normal_seconds": normal, "noise_share": self._noise.sigma},
            )
        ]


def _sum() -> Cusum:
    """Blocks are never rare, however many steps lie between them."""
    return Cusum(rare_steps=math.inf)
