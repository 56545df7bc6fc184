from __future__ import annotations

import math
from random import Random
from statistics import fmean

import pytest

from paceline_exporters.noise_scale import MOST_PENDING, NoiseScale, Norms, estimated

DIMENSIONS = 400
RANKS, MICRO_STEPS, MICRO_SAMPLES = 4, 4, 8
SAMPLES = MICRO_STEPS * MICRO_SAMPLES
SIGNAL, NOISE = 2.0, 300.0
"""|G|^2 and the trace of a sample's covariance."""


class Job:
    """Steps of a job whose gradients are normal with a covariance that is known, and not the same in all
    dimensions."""

    def __init__(self, seed: int, divides: bool = True) -> None:
        self._random = Random(seed)
        self._scale = 1.0 / MICRO_STEPS if divides else 1.0
        weights = [1.0 + dimension % 5 for dimension in range(DIMENSIONS)]
        self._deviations = [math.sqrt(NOISE * weight / sum(weights)) for weight in weights]
        self._mean = math.sqrt(SIGNAL / DIMENSIONS)

    def step(self) -> list[Norms]:
        """What each rank records."""
        first = [self._gradient(MICRO_SAMPLES) for _ in range(RANKS)]
        rest = self._gradient(MICRO_SAMPLES * RANKS * (MICRO_STEPS - 1))
        sums = [sum(values) for values in zip(*first, strict=True)]
        total = [
            (some + RANKS * (MICRO_STEPS - 1) * others) / RANKS for some, others in zip(sums, rest, strict=True)
        ]
        step = self._scale * math.hypot(*total)
        return [Norms(self._scale * math.hypot(*one), step, MICRO_STEPS, SAMPLES) for one in first]

    def _gradient(self, samples: int) -> list[float]:
        """The mean of so many samples' gradients."""
        root = math.sqrt(samples)
        return [self._random.gauss(self._mean, deviation / root) for deviation in self._deviations]


@pytest.mark.parametrize("divides", [True, False])
def test_many_steps_give_the_known_noise_scale(divides: bool) -> None:
    job, estimates = Job(1, divides), []
    for _ in range(300):
        estimate = estimated(job.step(), RANKS)
        assert estimate is not None
        estimates.append(estimate)
    signal = fmean(one for one, _ in estimates)
    noise = fmean(other for _, other in estimates)
    assert noise / signal == pytest.approx(NOISE / SIGNAL, rel=0.03)
    scale = 1.0 if divides else MICRO_STEPS**2
    assert signal == pytest.approx(SIGNAL * scale, rel=0.03)
    assert noise == pytest.approx(NOISE * scale, rel=0.03)


def test_one_rank_of_four_is_noisier_but_not_biased() -> None:
    job, estimates = Job(2), []
    for _ in range(300):
        estimate = estimated(job.step()[:1], RANKS)
        assert estimate is not None
        estimates.append(estimate)
    noise, signal = (fmean(values) for values in zip(*[(two, one) for one, two in estimates], strict=True))
    assert noise / signal == pytest.approx(NOISE / SIGNAL, rel=0.06)


def test_averages_over_the_run() -> None:
    job, scale = Job(3), NoiseScale()
    for step in range(60):
        for rank, norms in enumerate(job.step()):
            scale.add(0, step, rank, norms, RANKS, RANKS)
    assert scale.readings == 60
    assert scale.ranks == RANKS
    assert scale.samples == pytest.approx(NOISE / SIGNAL, rel=0.2)
    assert scale.signal is not None
    assert scale.noise is not None
    assert scale.samples == pytest.approx(scale.noise / scale.signal)


def test_nothing_is_known_before_the_first_reading() -> None:
    scale = NoiseScale()
    assert (scale.samples, scale.signal, scale.noise, scale.readings) == (None, None, None, 0)


def test_a_step_is_taken_once_all_ranks_told_theirs() -> None:
    scale, norms = NoiseScale(), Norms(1.0, 2.0, 4, 32)
    scale.add(0, 100, 0, norms, 2, 2)
    assert scale.readings == 0
    scale.add(0, 100, 1, norms, 2, 2)
    assert (scale.readings, scale.ranks) == (1, 2)
    scale.add(0, 100, 0, norms, 1, 2)
    scale.add(0, 50, 0, norms, 1, 2)
    assert scale.readings == 1, "late, or told again"
    scale.add(1, 50, 0, norms, 1, 2)
    assert scale.readings == 2, "a restart replays steps"


def test_a_rank_that_tells_nothing_holds_up_the_others_for_a_while_only() -> None:
    scale = NoiseScale()
    for step in range(1, MOST_PENDING + 3):
        scale.add(0, step, 0, Norms(1.0, 2.0, 4, 32), 2, 2)
    assert (scale.readings, scale.ranks) == (2, 1)


def test_noise_that_hides_the_signal_is_not_a_number_of_samples() -> None:
    scale = NoiseScale()
    scale.add(0, 1, 0, Norms(first_micro=10.0, step=1.0, micro_steps=4, samples=32), 1, 1)
    assert scale.signal is not None
    assert scale.signal < 0
    assert scale.samples is None


@pytest.mark.parametrize(
    "norms",
    [
        Norms(1.0, 1.0, 1, 32),
        Norms(math.nan, 1.0, 4, 32),
        Norms(1.0, math.inf, 4, 32),
        Norms(0.0, 1.0, 4, 32),
        Norms(1.0, 1.0, 4, math.nan),
        Norms(1e300, 1.0, 4, 32),
        Norms(1.0, 1.0, 4, 1e-320),
    ],
)
def test_what_is_no_reading_changes_nothing(norms: Norms) -> None:
    scale = NoiseScale()
    scale.add(0, 1, 0, norms, 1, 1)
    assert (scale.readings, scale.samples) == (0, None)
