"""The report's three pictures, as inline SVG: no script, no font, nothing to fetch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

WIDTH, LEFT, RIGHT = 760, 150, 30
COLOURS = {
    "data_wait": "#d1495b",
    "sync_wait": "#edae49",
    "forward": "#3b7dd8",
    "backward": "#1f4e9c",
    "optimizer": "#66a182",
    "other": "#9aa0a6",
}


def trials_chart(trials: Sequence[Mapping[str, Any]], unit: str) -> str:
    """Each trial at the time it ended; the default is dark, failed trials stand on the axis in red."""
    timed = [trial for trial in trials if trial["seconds_since_start"] is not None]
    if not timed:
        return "<p>No trial ended.</p>"
    values = [float(trial["value"]) for trial in timed if trial["value"] is not None]
    value_ticks = ticks(max(values, default=1.0) * 1.1)
    time_ticks = ticks(max(float(trial["seconds_since_start"]) for trial in timed) * 1.05)
    top, last = value_ticks[-1], time_ticks[-1]
    height, floor = 300, 260

    def place(trial: Mapping[str, Any]) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * trial["seconds_since_start"] / last
        return x, floor - (floor - 20) * (trial["value"] or 0.0) / top

    marks = [_axes(value_ticks, time_ticks, floor, unit)]
    marks += [_mark(trial, *place(trial)) for trial in timed]
    return _svg(height, marks, "Trials over time")


def _mark(trial: Mapping[str, Any], x: float, y: float) -> str:
    colour = "#444" if trial["trial"] == 0 else "#3b7dd8" if trial["value"] is not None else "#d1495b"
    name = "default" if trial["trial"] == 0 else f"trial {trial['trial']}"
    words = ", ".join(f"{key}={value}" for key, value in trial["params"].items())
    tip = escape(f"{name}: {trial['state']}: {words}")
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{colour}"><title>{tip}</title></circle>'
        f'<text x="{x + 9:.1f}" y="{y - 7:.1f}" class="small">{name}</text>'
    )


def ticks(most: float) -> list[float]:
    """Round numbers from one step up to at least `most`, at most six of them."""
    scale = 10.0 ** math.floor(math.log10(most)) if most > 0 else 1.0
    step = next(scale * share for share in (0.2, 0.25, 0.5, 1.0, 2.0, 2.5) if most / (scale * share) <= 5)
    return [step * count for count in range(1, math.ceil(most / step) + 1)]


def _axes(values: Sequence[float], seconds: Sequence[float], floor: int, unit: str) -> str:
    parts = [f'<line x1="{LEFT}" y1="{floor}" x2="{WIDTH - RIGHT}" y2="{floor}" class="axis"/>']
    for tick in values:
        y = floor - (floor - 20) * tick / values[-1]
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" class="small end">{tick:,.6g}</text>')
    for tick in seconds:
        x = LEFT + (WIDTH - LEFT - RIGHT) * tick / seconds[-1]
        parts.append(f'<text x="{x:.1f}" y="{floor + 18}" class="small end">{tick:.0f} s</text>')
    parts.append(f'<text x="{LEFT}" y="12" class="small">{escape(unit)}</text>')
    return "".join(parts)


def phases_chart(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """A step of the default and of the best, phase by phase, on one scale of seconds."""
    rows = [(name, phases) for name, phases in (("default", before), ("best", after)) if phases]
    longest = max((sum(_drawn(phases).values()) for _, phases in rows), default=0.0)
    if not longest:
        return "<p>No step was measured.</p>"
    marks = []
    for index, (name, phases) in enumerate(rows):
        y, x = 20 + index * 50, float(LEFT)
        marks.append(f'<text x="{LEFT - 8}" y="{y + 20}" class="end">{name}</text>')
        for phase, seconds in _drawn(phases).items():
            width = (WIDTH - LEFT - RIGHT) * seconds / longest
            tip = f"{name}: {phase.replace('_', ' ')} {seconds * 1e3:.2f} ms"
            marks.append(
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="30" fill="{COLOURS[phase]}">'
                f"<title>{tip}</title></rect>"
            )
            x += width
        marks.append(f'<text x="{LEFT}" y="{y + 44}" class="small">{phases["step"] * 1e3:.1f} ms a step</text>')
    y = 30 + len(rows) * 50
    for index, (phase, colour) in enumerate(COLOURS.items()):
        x = LEFT + index * 98
        marks.append(f'<rect x="{x}" y="{y}" width="12" height="12" fill="{colour}"/>')
        marks.append(f'<text x="{x + 17}" y="{y + 11}" class="small">{phase.replace("_", " ")}</text>')
    return _svg(y + 24, marks, "Phases of a step")


def _drawn(phases: Mapping[str, float]) -> dict[str, float]:
    return {phase: max(0.0, phases.get(phase, 0.0)) for phase in COLOURS}


def proof_chart(
    pairs: Sequence[Mapping[str, Any]], ratio: float | None, interval: Sequence[float | None] | None
) -> str:
    """Each pair's ratio, and the estimate with its 95 % interval, against 1 (no difference)."""
    if ratio is None:
        return "<p>No pairs were run.</p>"
    low, high = interval or (None, None)
    shown = [1.0, ratio, *(pair["ratio"] for pair in pairs), *(end for end in (low, high) if end)]
    least, most = float(min(shown)) * 0.97, float(max(shown)) * 1.03

    def at(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - least) / (most - least)

    bottom = 30 + 22 * (len(pairs) + 1)
    marks = [f'<line x1="{at(1):.1f}" y1="10" x2="{at(1):.1f}" y2="{bottom}" class="one"/>']
    marks.append(f'<text x="{at(1) + 4:.1f}" y="{bottom + 14}" class="small">1: no difference</text>')
    for index, pair in enumerate(pairs):
        y = 24 + 22 * index
        marks.append(f'<text x="{LEFT - 8}" y="{y + 4}" class="small end">pair {index + 1}</text>')
        marks.append(f'<circle cx="{at(pair["ratio"]):.1f}" cy="{y}" r="4" fill="#9aa0a6"/>')
    y = 24 + 22 * len(pairs)
    marks.append(f'<text x="{LEFT - 8}" y="{y + 4}" class="end">ratio {ratio:.3f}</text>')
    if low and high:
        marks.append(f'<line x1="{at(low):.1f}" y1="{y}" x2="{at(high):.1f}" y2="{y}" class="interval"/>')
    marks.append(f'<circle cx="{at(ratio):.1f}" cy="{y}" r="6" fill="#1f4e9c"/>')
    return _svg(bottom + 24, marks, "The proof")


def _svg(height: int, marks: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(marks)}</svg>'
    )
