"""The interval covers the truth, claims nothing it should not, and stops without peeking."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline_tuner.proof.interval import Interval, enough, ratio_interval

VALUES = st.floats(0.01, 100.0)
PAIRS = st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=10)


def pairs(
    rng: np.random.Generator, count: int, ratio: float, drift: float = 0.0
) -> tuple[list[float], list[float]]:
    """`count` log-normal pairs whose runs vary by 5 % and whose machine drifts from pair to pair."""
    common = rng.normal(0, drift, count)
    default, candidate = np.exp(rng.normal(0, 0.05, (2, count)) + common)
    return default.tolist(), (ratio * candidate).tolist()


@pytest.mark.parametrize(("count", "drift"), [(6, 0.0), (7, 0.1), (8, 0.05)])
def test_the_interval_covers_the_true_ratio(count: int, drift: float) -> None:
    rng = np.random.default_rng(count)
    covered = 0
    for _ in range(300):
        interval = ratio_interval(*pairs(rng, count, 1.2, drift), "maximize")
        covered += interval.low <= 1.2 <= interval.high
    assert covered >= 0.93 * 300


def test_no_gain_is_rarely_called_a_gain() -> None:
    rng = np.random.default_rng(1)
    verdicts = [ratio_interval(*pairs(rng, 6, 1.0), "maximize").verdict for _ in range(300)]
    assert verdicts.count("use this") <= 0.05 * 300


def test_six_pairs_show_a_clear_gain() -> None:
    rng = np.random.default_rng(2)
    verdicts = [ratio_interval(*pairs(rng, 6, 1.3), "maximize").verdict for _ in range(50)]
    assert verdicts.count("use this") == 50


@settings(max_examples=60)
@given(PAIRS)
def test_the_interval_contains_the_estimate(measured: list[tuple[float, float]]) -> None:
    default, candidate = zip(*measured, strict=True)
    interval = ratio_interval(default, candidate, "maximize")
    assert interval.low <= interval.ratio <= interval.high
    assert interval.ratio == pytest.approx(np.median(candidate) / np.median(default))
    assert (interval.high == math.inf) == (len(measured) < 6)


@settings(max_examples=40)
@given(PAIRS, st.floats(0.1, 10.0))
def test_the_unit_does_not_matter(measured: list[tuple[float, float]], unit: float) -> None:
    default, candidate = (np.array(side) for side in zip(*measured, strict=True))
    one = ratio_interval(default, candidate, "maximize")
    other = ratio_interval(default * unit, candidate * unit, "maximize")
    assert (other.ratio, other.low, other.high) == pytest.approx((one.ratio, one.low, one.high), rel=1e-6)


def test_less_is_better_when_minimised() -> None:
    slow, fast = [2.0, 2.1, 1.9, 2.0, 2.2, 1.8], [1.0, 1.1, 0.9, 1.0, 1.2, 0.8]
    interval = ratio_interval(slow, fast, "minimize")
    assert interval.ratio == pytest.approx(2.0)
    assert interval.verdict == "use this"
    assert ratio_interval(fast, slow, "maximize") == interval
    assert ratio_interval(fast, slow, "minimize").verdict == "keep your default"


def test_fewer_than_six_pairs_bound_nothing() -> None:
    interval = ratio_interval([1.0] * 5, [2.0] * 5, "maximize")
    assert (interval.ratio, interval.low, interval.high, interval.pairs) == (2.0, 0.0, math.inf, 5)
    assert interval.verdict == "keep your default"


def test_an_interval_that_touches_one_claims_nothing() -> None:
    assert Interval(1.1, 1.0, 1.2, 6).verdict == "keep your default"
    assert Interval(1.1, 1.0001, 1.2, 6).verdict == "use this"


def test_many_pairs_are_sampled_the_same_each_time() -> None:
    default, candidate = pairs(np.random.default_rng(3), 20, 1.1)
    first = ratio_interval(default, candidate, "maximize")
    assert first == ratio_interval(default, candidate, "maximize")
    assert first.low < 1.1 < first.high


@pytest.mark.parametrize(
    ("default", "candidate"),
    [([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([1.0], [math.nan]), ([1.0], [math.inf]), ([-1.0], [1.0])],
)
def test_values_that_are_no_measurements_are_refused(default: list[float], candidate: list[float]) -> None:
    with pytest.raises(ValueError, match="pairs need"):
        ratio_interval(default, candidate, "maximize")


def test_stops_for_width_or_number_never_for_the_result() -> None:
    narrow, wide = (0.98, 1.06), (0.9, 1.3)
    assert enough(Interval(1.02, *narrow, pairs=5), 6, 12, 0.05) is None
    assert "narrow" in str(enough(Interval(1.02, *narrow, pairs=6), 6, 12, 0.05))
    assert enough(Interval(1.1, *wide, pairs=11), 6, 12, 0.05) is None
    assert "12 pairs" in str(enough(Interval(1.1, *wide, pairs=12), 6, 12, 0.05))
    assert enough(Interval(2.0, 1.5, 2.5, pairs=8), 6, 12, 0.05) is None
    assert enough(Interval(2.0, 0.0, math.inf, pairs=5), 1, 12, 0.05) is None
