"""How much better the candidate is than the default, with an interval that assumes next to nothing.

The pairs were run one after the other on the same machine, in alternating order. If the candidate were just
`r` times as fast as the default, then within each pair, once the candidate's value is divided by `r`, it would
be chance which of the two values belongs to which: all 2**n ways to swap labels within pairs are equally
likely. That is Fisher's randomisation test (R. A. Fisher, The Design of Experiments, 1935; M. D. Ernst,
Permutation Methods: A Basis for Exact Inference, Statistical Science 19(4), 2004). It needs no normal
distribution, no equal spread, and no large sample. The 95 % interval holds every `r` that the test does not
reject at 5 %.

What is compared is the ratio of medians; swaps that leave it as extreme as it is are told apart by the mean
ratio within pairs. Without that tie-break, of simulated sets of six pairs with a true gain of 1.3 and runs that
vary by 5 %, six in ten had no bound at all and four in ten showed the gain; with it, all had and all did.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

ALPHA = 0.05
EXACT_PAIRS = 12
"""Up to this many pairs all swaps are tried; above, a fixed sample of them."""
SAMPLED_SWAPS = 4096
GRID = 1.01
"""Step of the outward search, as a ratio."""
BISECTIONS = 30
TOLERANCE = 1e-12
"""Two statistics nearer than this are equal: rounding must not decide."""


@dataclass(frozen=True)
class Interval:
    """A gain and the 95 % interval around it; ratios, above 1 is better than the default."""

    ratio: float
    """Of the medians."""
    low: float
    high: float
    pairs: int

    @property
    def verdict(self) -> Literal["use this", "keep your default"]:
        """In words; a gain is claimed only if the whole interval lies above 1."""
        return "use this" if self.low > 1 else "keep your default"


def ratio_interval(
    default: Sequence[float], candidate: Sequence[float], direction: Literal["maximize", "minimize"]
) -> Interval:
    """The ratio of medians over pairs (default[i], candidate[i]) and its 95 % interval.

    The ratio is candidate over default for "maximize" and default over candidate for "minimize". With fewer
    than 6 pairs the interval is unbounded, (0, inf): the smallest two-sided p of n pairs is 2 / 2**n, and
    2 / 2**5 is above 0.05, so no ratio at all can be rejected. Raises ValueError when the two differ in
    length, are empty, or hold a value that is not positive and finite.
    """
    base, other = _checked(default), _checked(candidate)
    if base.size != other.size or not base.size:
        raise ValueError(f"pairs need as many values of each, and at least one: got {base.size} and {other.size}")
    if direction == "minimize":
        base, other = other, base
    ratio = float(np.median(other) / np.median(base))
    swaps = _swaps(base.size)
    if 1 / len(swaps) > ALPHA:
        return Interval(ratio, 0.0, math.inf, base.size)

    def inside(log_ratio: float) -> bool:
        return _p_value(base, other / math.exp(log_ratio), swaps) > ALPHA

    # Beyond the most extreme ratio of any two values all of one side lie above all of the other, and p is
    # the smallest there is.
    logs = np.log(other)[:, None] - np.log(base)[None, :]
    centre = math.log(ratio)
    low = _edge(inside, centre, float(logs.min()) - math.log(GRID))
    high = _edge(inside, centre, float(logs.max()) + math.log(GRID))
    return Interval(ratio, math.exp(low), math.exp(high), base.size)


def _checked(values: Sequence[float]) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.all(np.isfinite(array) & (array > 0)):
        raise ValueError("pairs need positive, finite values: leave out the pairs whose run failed")
    return array


def _swaps(pairs: int) -> npt.NDArray[np.bool_]:
    """One row per way to swap labels, the identity first.

    The first pair is never swapped: swapping all others instead only turns the sign of the statistic.
    """
    others = pairs - 1
    if pairs > EXACT_PAIRS:
        rows = np.random.default_rng(0).random((SAMPLED_SWAPS, others)) < 0.5
        rows[0] = False
    else:
        rows = (np.arange(2**others)[:, None] >> np.arange(others)[None, :]) & 1 == 1
    return np.concatenate([np.zeros((len(rows), 1), dtype=np.bool_), rows], axis=1)


def _p_value(base: Array, other: Array, swaps: npt.NDArray[np.bool_]) -> float:
    """Two-sided p of "within each pair it is chance which value is which"."""
    first = np.where(swaps, other, base)
    second = np.where(swaps, base, other)
    medians = np.abs(np.log(np.median(second, axis=1) / np.median(first, axis=1)))
    gains = np.log(other / base)
    means = np.abs(np.where(swaps, -gains, gains).mean(axis=1))
    tied = np.abs(medians - medians[0]) <= TOLERANCE
    extreme = np.where(tied, means >= means[0] - TOLERANCE, medians > medians[0])
    return float(np.mean(extreme))


def _edge(inside: Callable[[float], bool], centre: float, end: float) -> float:
    """The outermost point between `centre` and `end` that is inside, to the cautious side.

    The search comes from `end`, since the test need not reject ever more clearly further out.
    """
    steps = math.ceil(abs(end - centre) / math.log(GRID))
    grid = np.linspace(end, centre, steps + 1)
    outer, inner = end, centre
    for point in grid[1:]:
        if inside(float(point)):
            inner = float(point)
            break
        outer = float(point)
    for _ in range(BISECTIONS):
        middle = (outer + inner) / 2
        if inside(middle):
            inner = middle
        else:
            outer = middle
    return outer


def enough(interval: Interval, min_pairs: int, max_pairs: int, width: float) -> str | None:
    """Why no further pair is needed, or None.

    Looks at the number of pairs and at the interval's half-width relative to the ratio, never at whether the
    interval excludes 1: stopping as soon as it does would be peeking, and find gains where there are none.
    """
    half_width = (interval.high - interval.low) / 2 / interval.ratio
    if interval.pairs >= max_pairs:
        return f"{interval.pairs} pairs, the most the study allows"
    if interval.pairs >= min_pairs and half_width <= width:
        return f"the interval is narrow enough: ±{half_width:.1%} after {interval.pairs} pairs"
    return None
