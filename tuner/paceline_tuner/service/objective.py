"""What a run was worth, from the step columns of its rings: pure functions.

Ranks are aligned by step number, never by clocks. After a restart steps are replayed: what a later attempt
measured stands. A throughput over fewer than all ranks is no throughput, and is not given.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from paceline_tuner.study.spec import Objective

PHASES = (
    "step_seconds",
    "data_wait_seconds",
    "sync_wait_seconds",
    "forward_seconds",
    "backward_seconds",
    "optimizer_seconds",
    "other_seconds",
)

Column = Sequence[float | None]
StepRecord = Mapping[str, float]
RankSteps = Mapping[int, StepRecord]
"""Step number -> what one rank measured in it; unknown fields are missing."""


@dataclass(frozen=True)
class RingSteps:
    """One ring's step columns, from however many windows."""

    rank: int
    attempt: int
    columns: Mapping[str, Column]


@dataclass(frozen=True)
class Measurement:
    """What is known of a run."""

    value: float | None
    """Samples or tokens per second over all ranks; None when partial."""
    reason: str
    """Why there is no value, or what it stands on."""
    aligned_steps: int
    """Steps after warm-up that every rank reported."""
    ranks: Sequence[int]
    """That reported any step."""
    rate: float | None
    """As `value`, however few the aligned steps are; None without any."""
    phases: Mapping[str, float] = field(default_factory=dict)
    """Mean seconds per step, mean over ranks, of the aligned steps."""
    loss_first: float | None = None
    loss_last: float | None = None

    def summary(self) -> dict[str, Any]:
        """As JSON, for reports."""
        data = asdict(self)
        del data["value"], data["reason"], data["rate"]
        return data


def measure(rings: Iterable[RingSteps], world_size: int, objective: Objective) -> Measurement:
    """Throughput, phases and loss of a run of `world_size` ranks."""
    ranks = align(rings)
    steps = _measured(ranks, world_size, objective)
    rate = _rate(ranks, steps, world_size, objective.unit)
    lacking = _lacking(ranks, steps, world_size, objective)
    losses = _losses(ranks)
    return Measurement(
        value=None if lacking else rate,
        reason=lacking or f"{rate:.6g} {objective.unit}/s over {len(steps)} steps of all {world_size} ranks",
        rate=rate,
        aligned_steps=len(steps),
        ranks=sorted(rank for rank, seen in ranks.items() if seen),
        phases=_phases(ranks, steps),
        loss_first=losses[0] if losses else None,
        loss_last=losses[-1] if losses else None,
    )


def align(rings: Iterable[RingSteps]) -> dict[int, dict[int, StepRecord]]:
    """Rank -> step number -> record; of replayed steps the last attempt's."""
    ranks: dict[int, dict[int, StepRecord]] = {}
    for ring in sorted(rings, key=lambda ring: ring.attempt):
        steps = ranks.setdefault(ring.rank, {})
        for index, step in enumerate(ring.columns.get("step", ())):
            if step is not None and math.isfinite(step):
                steps[int(step)] = _record(ring.columns, index)
    return ranks


def _record(columns: Mapping[str, Column], index: int) -> StepRecord:
    values = ((name, column[index]) for name, column in columns.items() if index < len(column))
    return {name: value for name, value in values if value is not None and math.isfinite(value)}


def _measured(ranks: Mapping[int, RankSteps], world_size: int, objective: Objective) -> list[int]:
    """Steps after warm-up that all ranks reported with both their samples and their time."""
    if not all(ranks.get(rank) for rank in range(world_size)):
        return []
    first = min(min(steps) for steps in ranks.values() if steps)
    common = set.intersection(*(set(ranks[rank]) for rank in range(world_size)))
    needed = (objective.unit, "step_seconds")
    return sorted(
        step
        for step in common
        if step >= first + objective.warmup_steps
        and all(name in ranks[rank][step] for rank in range(world_size) for name in needed)
    )


def _rate(ranks: Mapping[int, RankSteps], steps: Sequence[int], world_size: int, unit: str) -> float | None:
    """All ranks' work over the time of the slowest rank of each step."""
    work = sum(ranks[rank][step][unit] for rank in range(world_size) for step in steps)
    seconds = sum(max(ranks[rank][step]["step_seconds"] for rank in range(world_size)) for step in steps)
    return work / seconds if work > 0 and seconds > 0 else None


def _lacking(ranks: Mapping[int, RankSteps], steps: Sequence[int], world_size: int, objective: Objective) -> str:
    """What a run lacks to be measured, or nothing."""
    missing = [rank for rank in range(world_size) if not ranks.get(rank)]
    if missing:
        return (
            f"only {world_size - len(missing)} of {world_size} ranks reported steps (missing: "
            f"{', '.join(map(str, missing[:8]))}): see their logs, and that each node reports to this tuner"
        )
    needed = math.ceil(objective.measure_steps / 2)
    if len(steps) < needed:
        return (
            f"all {world_size} ranks reported only {len(steps)} complete steps after the warm-up of "
            f"{objective.warmup_steps}; at least {needed} of {objective.measure_steps} are needed"
        )
    if _rate(ranks, steps, world_size, objective.unit) is None:
        return f"no {objective.unit} were reported, or no time: the job does not say how many it takes"
    return ""


def _phases(ranks: Mapping[int, RankSteps], steps: Sequence[int]) -> dict[str, float]:
    means: dict[str, float] = {}
    for name in PHASES:
        values = [record[name] for seen in ranks.values() for s in steps if name in (record := seen.get(s, {}))]
        if values:
            means[name] = sum(values) / len(values)
    return means


def _losses(ranks: Mapping[int, RankSteps]) -> list[float]:
    """Mean loss over the ranks that know it, by step."""
    by_step: dict[int, list[float]] = {}
    for seen in ranks.values():
        for step, record in seen.items():
            if "loss" in record:
                by_step.setdefault(step, []).append(record["loss"])
    return [sum(by_step[step]) / len(by_step[step]) for step in sorted(by_step)]


def final_value(
    objective: Objective, told: Mapping[str, float], evaluated: Mapping[str, Any]
) -> tuple[float | None, str]:
    """The metric of a `final` objective: from the submitter's word, else from the last evaluation."""
    for metrics in (told, evaluated):
        value = metrics.get(objective.metric)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value), f"{objective.metric} of the last evaluation"
    names = ", ".join(sorted({*told, *evaluated})) or "no metric at all"
    return None, (
        f"the run ended without a finite {objective.metric}; its evaluation gave {names}: name one of these as "
        "the study's objective, or make the job evaluate it"
    )
