"""What a run's stored windows say about why its steps take as long as they do."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from paceline_exporters.diagnosis.explanation import TOLD_EVENTS
from paceline_exporters.diagnosis.replay import replay, steps_to_ask
from paceline_exporters.messages import Event, RingReport, Window

from .errors import NotFound
from .states import OPEN_STATES
from .tables import TENANT, events, rings, runs, windows
from .work import Record, Work

MOST_NAMED = 20


def stored(work: Work, run_id: str) -> list[RingReport]:
    """The latest windows of each rank of the run's latest attempt. Raises NotFound."""
    run = work.find_run(run_id)
    if run is None:
        raise NotFound(f"no run {run_id!r} was proposed by this tuner; {_open_runs(work)}")
    of_run = (rings.c.run_id == run_id, rings.c.attempt == run.attempt)
    since = rings.c.next_record - steps_to_ask(run.world_size or 1)
    query = (
        select(rings, windows.c.first, windows.c.last, windows.c.columns, windows.c.evidence)
        .outerjoin(windows, (windows.c.ring == rings.c.ring) & (windows.c.last >= since))
        .where(*of_run)
        .order_by(rings.c.rank, windows.c.first)
    )
    found = [_report(run, row) for row in work.connection.execute(query)]
    if not found:
        raise NotFound(f"run {run_id!r} has reported nothing yet: {run.reason}")
    return found + [_of_events(run, row) for row in work.connection.execute(_events(*of_run))]


def explain(reports: list[RingReport]) -> dict[str, Any]:
    """Takes a second or two for a large run: not in the event loop, and in no transaction."""
    return replay(reports).encode()


def _open_runs(work: Work) -> str:
    query = select(runs.c.run_id).where(runs.c.tenant == TENANT, runs.c.state.in_(OPEN_STATES))
    names = work.connection.execute(query.order_by(runs.c.created_at.desc()).limit(MOST_NAMED)).scalars().all()
    return f"its latest open runs: {', '.join(names)}" if names else "no run of it is open"


def _events(*of_run: Any) -> Any:
    query = select(rings, events.c.number, events.c.kind, events.c.at, events.c.step, events.c.detail)
    told = events.c.kind.in_(TOLD_EVENTS)
    return query.join(events, events.c.ring == rings.c.ring).where(*of_run, told).order_by(events.c.number)


def _report(run: Record, row: Record) -> RingReport:
    window = None if row.first is None else Window(row.first, row.last, row.columns, row.evidence)
    return RingReport(**_identity(run, row), window=window)


def _of_events(run: Record, row: Record) -> RingReport:
    event = Event(row.number, row.kind, row.at, row.step, row.detail)
    return RingReport(**_identity(run, row), events=(event,))


def _identity(run: Record, row: Record) -> dict[str, Any]:
    same = {name: getattr(row, name) for name in ("ring", "run_id", "rank", "world_size", "attempt", "node")}
    return {**same, "alive": run.state == "running" and not row.ended, "generation": row.generation}
