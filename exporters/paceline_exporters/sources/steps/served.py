"""From what is known of a rank and a run to its series."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from ...metrics import Family, Labels, Samples, Value
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

Points = defaultdict[Family, dict[Labels, Value]]


def add_rank(samples: Samples, rank: Rank, peak: float | None) -> None:
    """All series of one rank; `peak` stands in for what is known of its device."""
    points, key = samples.points, (rank.run_id, str(rank.rank))
    finite = rank.loss_finite
    points[STEPS][key] = rank.steps
    _add_fields(points, key, rank.totals, COUNTERS, LABELLED_COUNTERS)
    points[SKIPPED_STEPS][key] = rank.totals.get("optimizer_skipped", 0.0)
    for kind, count in rank.events.items():
        points[EVENTS][*key, kind] = count
    _add_fields(points, key, rank.latest, GAUGES, LABELLED_GAUGES)
    _add_work(samples, rank, key, peak or peak_flops(rank.data))
    points[LOST][key] = rank.lost
    points[LOSS][key] = rank.loss
    points[LOSS_FINITE][key] = None if finite is None else int(finite)
    points[ALIVE][key] = int(rank.alive)
    points[TRAINING][key] = int(rank.training)
    points[RANK_INFO][*key, rank.text("local_rank"), rank.text("device"), rank.text("node")] = 1
    if rank.failure is not None:
        samples.add(FAILURE_INFO, 1, *key, rank.failure.kind, rank.failure.exception)
        samples.add(FAILURE_STEP, rank.failure.step, *key)


def _add_fields(
    points: Points,
    key: tuple[str, str],
    values: Mapping[str, float],
    plain: Mapping[str, Family],
    labelled: Mapping[str, tuple[Family, str]],
) -> None:
    """Of each rank there are dozens, several times a second: no calls."""
    for name, family in plain.items():
        points[family][key] = values.get(name)
    for name, (family, label) in labelled.items():
        points[family][*key, label] = values.get(name)


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
