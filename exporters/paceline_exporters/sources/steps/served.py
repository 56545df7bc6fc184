"""From what is known of a rank and a run to its series."""

from __future__ import annotations

from ...metrics import Samples
from ...noise_scale import NoiseScale
from ...peaks import peak_flops
from ...ranks import Rank
from .families import (
    ALIVE,
    COUNTERS,
    EVENTS,
    FAILURE_INFO,
    FAILURE_STEP,
    FLOPS,
    GAUGES,
    LABELLED_COUNTERS,
    LABELLED_GAUGES,
    LOSS,
    LOSS_FINITE,
    LOST,
    MFU,
    NOISE,
    PEAK,
    RANK_INFO,
    RUN_GAUGES,
    RUN_INFO,
    SKIPPED_STEPS,
    STEPS,
    TRAINING,
)


def add_rank(samples: Samples, rank: Rank, peak: float | None) -> None:
    """All series of one rank; `peak` stands in for what is known of its device."""
    key = (rank.run_id, str(rank.rank))
    samples.add(STEPS, rank.steps, *key)
    _add_totals(samples, rank, key)
    for kind, count in rank.events.items():
        samples.add(EVENTS, count, *key, kind)
    for field, family in GAUGES.items():
        samples.add(family, rank.latest.get(field), *key)
    for field, (family, label) in LABELLED_GAUGES.items():
        samples.add(family, rank.latest.get(field), *key, label)
    _add_work(samples, rank, key, peak or peak_flops(rank.data))
    samples.add(LOST, rank.lost, *key)
    samples.add(LOSS, rank.loss, *key)
    finite = rank.loss_finite
    samples.add(LOSS_FINITE, None if finite is None else int(finite), *key)
    samples.add(ALIVE, int(rank.alive), *key)
    samples.add(TRAINING, int(rank.training), *key)
    samples.add(RANK_INFO, 1, *key, rank.text("local_rank"), rank.text("device"), rank.text("node"))
    if rank.failure is not None:
        samples.add(FAILURE_INFO, 1, *key, rank.failure.kind, rank.failure.exception)
        samples.add(FAILURE_STEP, rank.failure.step, *key)


def _add_totals(samples: Samples, rank: Rank, key: tuple[str, str]) -> None:
    for name, family in COUNTERS.items():
        samples.add(family, rank.totals.get(name), *key)
    for name, (family, label) in LABELLED_COUNTERS.items():
        samples.add(family, rank.totals.get(name), *key, label)
    samples.add(SKIPPED_STEPS, rank.totals.get("optimizer_skipped", 0.0), *key)


def _add_work(samples: Samples, rank: Rank, key: tuple[str, str], peak: float | None) -> None:
    speed = rank.flops_per_second
    samples.add(FLOPS, rank.flops, *key)
    samples.add(PEAK, peak, *key)
    samples.add(MFU, None if speed is None or peak is None else speed / peak, *key)


def add_run(samples: Samples, leader: Rank, noise: NoiseScale | None) -> None:
    """All series of a run, for which one of its ranks speaks."""
    samples.add(
        RUN_INFO,
        1,
        leader.run_id,
        *(leader.text(key) for key in ("study", "trial", "kind", "world_size", "node", "attempt")),
        *(leader.text(key, within="libraries") for key in ("torch", "transformers")),
    )
    for key, family in RUN_GAUGES.items():
        samples.add(family, leader.number(key), leader.run_id)
    if noise is not None:
        for name, family in NOISE.items():
            samples.add(family, getattr(noise, name), leader.run_id)
