"""Whether a run did the same work a step as the default run: throughput is worth nothing where it did not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from paceline_tuner.study.compose import ACCUMULATION, BATCH, Baseline
from paceline_tuner.study.errors import StudyError

from .tables import rings
from .work import Record, Work, baseline_of, spec_of


def why_not(work: Work, run: Record) -> str:
    """What a throughput run did otherwise than the default run, or nothing.

    A script may set its batch from a placeholder, or a launcher start other ranks: the study file cannot tell.
    """
    study = work.study_by_id(run.study_id)
    baseline = baseline_of(study)
    if baseline is None or spec_of(study).objective.kind != "throughput":
        return ""
    if run.world_size is not None and run.world_size != baseline.world_size:
        return (
            f"the run had {run.world_size} ranks, the default run {baseline.world_size}: throughput is compared "
            "on equal terms only; let no knob change how many ranks the command starts"
        )
    wanted = _batch(baseline.arguments, baseline.world_size)
    for arguments in _arguments(work, run):
        found = _batch(arguments, baseline.world_size)
        if None not in (wanted, found) and found != wanted:
            return (
                f"the run's global batch was {found}, the default run's {wanted}: the larger batch would always "
                f"win; let no knob change {BATCH} or {ACCUMULATION}, or add `hold: global_batch`"
            )
    return ""


def _arguments(work: Work, run: Record) -> list[Mapping[str, Any]]:
    """TrainingArguments that the ranks of the last attempt read back."""
    query = select(rings.c.header).where(rings.c.run_id == run.run_id, rings.c.attempt == run.attempt)
    found: list[Mapping[str, Any]] = []
    for header in work.connection.execute(query).scalars():
        effective = header.get("effective") if isinstance(header, dict) else None
        arguments = effective.get("arguments") if isinstance(effective, dict) else None
        found += [arguments] if isinstance(arguments, dict) else []
    return found


def _batch(arguments: Mapping[str, Any], world_size: int) -> int | None:
    """Sequences per optimizer step over all ranks; None where they cannot be told."""
    try:
        return Baseline(arguments, world_size).global_batch
    except StudyError:
        return None
