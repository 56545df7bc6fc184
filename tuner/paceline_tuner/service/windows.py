"""What reporters say of rings: kept once, acknowledged after the commit."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert, select, update

from paceline_exporters.attach.layout import STEP_FIELDS
from paceline_exporters.messages import Acknowledgement, Event, MessageError, Report, RingMark, RingReport, Window

from . import runs as life
from .progress import learn_baseline
from .tables import events, rings, windows
from .work import Record, Work

MAX_RANKS = 65536
UNKNOWN = RingMark(next_record=0, next_event=0, generation=0, known=False)


def take(work: Work, report: Report) -> Acknowledgement:
    """Keep what is new of each ring; the marks say from where the reporter goes on."""
    return Acknowledgement({ring.ring: _ring(work, ring) for ring in report.rings})


def _ring(work: Work, report: RingReport) -> RingMark:
    if not (0 < report.world_size <= MAX_RANKS and 0 <= report.rank < report.world_size and report.attempt >= 0):
        raise MessageError(
            f"ring {report.ring[:64]!r}: expected 0 <= rank < world_size <= {MAX_RANKS} and attempt >= 0, got "
            f"rank {report.rank}, world_size {report.world_size}, attempt {report.attempt}"
        )
    run = work.find_run(report.run_id)
    ring = None if run is None else _row(work, report)
    if run is None or ring is None:
        return UNKNOWN
    columns: dict[str, Any] = {}
    if report.window is not None and report.window.last >= ring.next_record:
        columns["next_record"] = report.window.last + 1
        _keep_window(work, ring, trim(report.window, ring.next_record))
    fresh = {event.number: event for event in report.events if event.number >= ring.next_event}
    if fresh:
        columns["next_event"] = max(fresh) + 1
        columns["ended"] = ring.ended or any(event.kind == "end" for event in fresh.values())
        _keep_events(work, run, ring, list(fresh.values()))
    if report.header is not None and report.generation > ring.generation:
        columns |= {"generation": report.generation, "header": dict(report.header)}
    if columns:
        work.connection.execute(update(rings).where(rings.c.ring == ring.ring).values(**columns))
    _tell_run(work, run, report, columns, fresh)
    return RingMark(
        next_record=columns.get("next_record", ring.next_record),
        next_event=columns.get("next_event", ring.next_event),
        generation=columns.get("generation", ring.generation),
        known=True,
    )


def _row(work: Work, report: RingReport) -> Record | None:
    """The ring's row, made when it is new; None when the ring belongs to another run."""
    query = select(rings).where(rings.c.ring == report.ring)
    row = work.connection.execute(query).one_or_none()
    if row is not None:
        return row if row.run_id == report.run_id else None
    work.connection.execute(
        insert(rings).values(
            ring=report.ring,
            run_id=report.run_id,
            rank=report.rank,
            world_size=report.world_size,
            attempt=report.attempt,
            node=report.node,
            next_record=0,
            next_event=0,
            generation=0,
        )
    )
    return work.connection.execute(query).one()


def trim(window: Window, next_record: int) -> Window:
    """The part of `window` from `next_record` on."""
    cut = max(0, next_record - window.first)
    if not cut:
        return window
    columns = {name: values[cut:] for name, values in window.columns.items()}
    return Window(window.first + cut, window.last, columns, window.evidence)


def _keep_window(work: Work, ring: Record, window: Window) -> None:
    work.connection.execute(
        insert(windows).values(
            ring=ring.ring,
            first=window.first,
            last=window.last,
            columns={name: list(window.columns[name]) for name in STEP_FIELDS if name in window.columns},
            evidence=dict(window.evidence),
            received_at=work.now,
        )
    )


def _keep_events(work: Work, run: Record, ring: Record, fresh: list[Event]) -> None:
    rows = [
        {
            "study_id": run.study_id,
            "run_id": run.run_id,
            "ring": ring.ring,
            "number": event.number,
            "kind": event.kind[:32],
            "at": event.wall,
            "step": event.step,
            "text": "",
            "detail": dict(event.detail),
        }
        for event in fresh
    ]
    work.connection.execute(insert(events), rows)


def _tell_run(
    work: Work, run: Record, report: RingReport, columns: dict[str, Any], fresh: dict[int, Event]
) -> None:
    """What the ring's news mean for its run."""
    if "header" in columns:
        learn_baseline(work, run, columns["header"], report.world_size)
    news: dict[str, Any] = {}
    if run.attempt is None or report.attempt > run.attempt:
        news |= {"attempt": report.attempt, "world_size": report.world_size}
    if "next_record" in columns and report.window is not None:
        steps = [step for step in report.window.columns.get("step", ()) if step is not None]
        news |= {"progress_at": work.now, "last_step": max([int(s) for s in steps], default=run.last_step)}
    broken = next((event for event in fresh.values() if event.kind == "nan"), None)
    if broken is not None and run.nan_step is None:
        news["nan_step"] = int(broken.step or 0)
    if news:
        run = work.update_run(run, **news)
    if report.alive or columns:
        run = life.sign_of_life(work, run)
    life.complete(work, run)
