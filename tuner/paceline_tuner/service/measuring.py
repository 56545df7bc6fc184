"""A run's stored windows as what `objective` measures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import or_, select

from .objective import Measurement, RingSteps, measure
from .tables import events, rings, windows
from .work import Record, Work, spec_of

RECORDS = 4096
"""Records from a ring's start that are measured, besides its last window."""


def measure_run(work: Work, run: Record) -> Measurement:
    """Throughput, phases and loss of a run, as far as it is known."""
    objective = spec_of(work.study_by_id(run.study_id)).objective
    return measure(_rings(work, run), run.world_size or 1, objective)


def _rings(work: Work, run: Record) -> list[RingSteps]:
    query = (
        select(rings.c.ring, rings.c.rank, rings.c.attempt, windows.c.columns, windows.c.first, windows.c.last)
        .join(windows, windows.c.ring == rings.c.ring)
        .where(rings.c.run_id == run.run_id)
        .where(or_(windows.c.first < RECORDS, windows.c.last == rings.c.next_record - 1))
        .order_by(rings.c.attempt, windows.c.first)
    )
    return [RingSteps(row.rank, row.attempt, row.columns) for row in work.connection.execute(query)]


def last_evaluation(work: Work, run: Record) -> Mapping[str, Any]:
    """Metrics of rank 0's last evaluation."""
    query = (
        select(events.c.detail)
        .join(rings, rings.c.ring == events.c.ring)
        .where(events.c.run_id == run.run_id, events.c.kind == "evaluation", rings.c.rank == 0)
        .order_by(rings.c.attempt.desc(), events.c.number.desc())
        .limit(1)
    )
    detail = work.connection.execute(query).scalar_one_or_none()
    metrics = (detail or {}).get("metrics")
    return metrics if isinstance(metrics, Mapping) else {}
