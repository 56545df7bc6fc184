"""A run in three lines, for the person who started it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from paceline_exporters.attach import layout
from paceline_exporters.rings import StepRow

from .rings import OwnRing

PHASES = ("data_wait", "sync_wait", "forward", "backward", "optimizer", "other")
_INDEX = {name: index for index, name in enumerate(layout.STEP_FIELDS)}


def summarize(rings: Sequence[OwnRing]) -> list[str]:
    """The run's id; steps, median step time, throughput and phase shares over what the rings hold. [] without
    steps."""
    rows = {ring.rank: _rows(ring) for ring in rings}
    rows = {rank: held for rank, held in rows.items() if held}
    if not rows:
        return []
    steps = [row for held in rows.values() for row in held]
    seconds = sum(_of(row, "step_seconds") for row in steps) or 1.0
    median = statistics.median(_of(row, "step_seconds") for row in steps)
    shares = ", ".join(
        f"{phase.replace('_', ' ')} {sum(_of(row, phase + '_seconds') for row in steps) / seconds:.0%}"
        for phase in PHASES
    )
    rate = sum(sum(_of(row, "samples") for row in held) / _span(held) for held in rows.values())
    number = max(len(held) for held in rows.values())
    words = [_counted(len(rows), "rank"), _counted(number, "step"), f"median step {median:.4g} s"]
    words += [f"{rate:.4g} samples/s"] if rate else []  # unknown where no loader of torch's brings the batches
    return [f"{rings[0].run_id}: {', '.join(words)}", f"of a step: {shares}"]


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _rows(ring: OwnRing) -> list[StepRow]:
    stop = ring.reader.cursors()[0]
    first = max(0, stop - layout.STEP_CAPACITY)
    rows = ring.reader.steps(first, max(stop, first))
    return [row for row in rows[1:] if row is not None] or [row for row in rows if row is not None]


def _span(rows: Sequence[StepRow]) -> float:
    return sum(_of(row, "step_seconds") for row in rows) or 1.0


def _of(row: StepRow, name: str) -> float:
    value = row[_INDEX[name]]
    return value if value == value else 0.0  # NaN: unknown adds nothing
