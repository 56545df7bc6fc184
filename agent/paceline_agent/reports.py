"""From a ring to the report that travels: what is new since the tuner's mark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from paceline_exporters.attach import layout
from paceline_exporters.messages import RingMark, RingReport, Window, finite_or_none
from paceline_exporters.rings import Header, RingReader, StepRow

START = RingMark(next_record=0, next_event=0, generation=0, known=True)


def ring_report(
    reader: RingReader, mark: RingMark | None, max_records: int = 512, always: bool = False
) -> RingReport | None:
    """What `reader` holds beyond `mark`; None when nothing is new (unless `always`) or the run has no name."""
    header = reader.header()
    if header is None or not isinstance(header.data.get("run_id"), str):
        return None
    since = mark or START
    alive = reader.alive()  # asked first: nothing that a rank says before it ends is missed then
    window = _window(reader, since.next_record, max_records)
    events = reader.events(since.next_event)
    fresh = header.generation > since.generation
    if not (window or events or fresh or always):
        return None
    return RingReport(
        ring=reader.uuid,
        alive=alive,
        generation=header.generation,
        header=header.data if fresh else None,
        events=events,
        window=window,
        **_identity(header),
    )


def with_evidence(report: RingReport, evidence: Mapping[str, float]) -> RingReport:
    """The report whose window carries what the node saw."""
    if report.window is None or not evidence:
        return report
    return replace(report, window=replace(report.window, evidence=evidence))


def _identity(header: Header) -> dict[str, Any]:
    data = header.data
    return {
        "run_id": data["run_id"],
        "rank": _whole(data, "rank", 0),
        "world_size": _whole(data, "world_size", 1),
        "attempt": _whole(data, "attempt", 0),
        "node": str(data.get("node", "")),
    }


def _whole(data: Mapping[str, Any], key: str, default: int) -> int:
    value = data.get(key)
    return value if isinstance(value, int) else default


def _window(reader: RingReader, first: int, max_records: int) -> Window | None:
    stop = reader.cursors()[0]
    first = max(first, stop - layout.STEP_CAPACITY)
    stop = min(stop, first + max_records)
    if stop <= first:
        return None
    return Window(first, stop - 1, columns(reader.steps(first, stop)))


def columns(rows: Sequence[StepRow | None]) -> dict[str, list[float | None]]:
    """Rows turned into one list per field; a field that is unknown throughout is left out."""
    table: dict[str, list[float | None]] = {}
    for index, name in enumerate(layout.STEP_FIELDS):
        values = [None if row is None else row[index] for row in rows]
        if any(value is not None and not math.isnan(value) for value in values):
            table[name] = [None if value is None else finite_or_none(value) for value in values]
    return table
