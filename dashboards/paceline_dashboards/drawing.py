"""Panels as HTML with inline SVG: no script, no font, nothing to fetch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from .prometheus import Series
from .units import UNKNOWN, on_axis, round_step, shown

COLOURS = ("#3b7dd8", "#e07a1f", "#3a9a5f", "#c44e8a", "#8a63c9", "#b59f17", "#4aa8b5", "#8c6d5a")
PHASES = {
    "data_wait": "#d1495b",
    "sync_wait": "#edae49",
    "forward": "#3b7dd8",
    "backward": "#1f4e9c",
    "optimizer": "#66a182",
    "other": "#9aa0a6",
}
"""Phases have the same colour in every picture of ours."""
LEFT, RIGHT, TOP, BOTTOM = 70, 14, 8, 22
MOST_NAMED = 6
"""Series in a legend; the rest is counted."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A series and what it is called."""

    name: str
    series: Series

    @property
    def last(self) -> float | None:
        """Its newest value."""
        return self.series.points[-1][1] if self.series.points else None


@dataclass(frozen=True)
class Plane:
    """Where a value at a time stands in a picture."""

    width: float
    height: float
    start: float
    end: float
    low: float
    high: float

    def x(self, at: float) -> float:
        """Pixels from the left."""
        return LEFT + (self.width - LEFT - RIGHT) * (at - self.start) / (self.end - self.start)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        share = (value - self.low) / (self.high - self.low)
        return self.height - BOTTOM - (self.height - TOP - BOTTOM) * share


@dataclass(frozen=True)
class Graph:
    """How curves are drawn."""

    unit: str
    stacked: bool
    floor: float | None
    """Lowest value of the axis; None: as the values."""
    size: tuple[float, float]
    """Pixels."""
    span: tuple[float, float]
    """Unix time."""
    step: float
    """Seconds between two values; where more are missing, the curve has a gap."""


def curves(lines: Sequence[Line], graph: Graph) -> str:
    """The curves as SVG; where nothing is known, it says so."""
    if not any(line.series.points for line in lines):
        return f'<p class="unknown">{UNKNOWN}</p>'
    bands = list(_bands(lines)) if graph.stacked else [(line, line.series.points, None) for line in lines]
    values = [value for _, points, _ in bands for _, value in points if value == value]
    ticks = _ticks(min(values) if graph.floor is None else graph.floor, max(values), graph.unit)
    plane = Plane(*graph.size, *graph.span, ticks[0], ticks[-1])
    parts = [_grid(plane, ticks, graph.unit)]
    for number, (line, points, lower) in enumerate(bands):
        colour = _colour(line.name, number)
        parts += [
            _curve(plane, piece, colour) if lower is None else _band(plane, piece, lower, colour)
            for piece in _pieces(points, graph.step)
        ]
    return f'<svg width="{plane.width:.0f}" height="{plane.height:.0f}">{"".join(parts)}</svg>'


def legend(lines: Sequence[Line], unit: str) -> str:
    """Names and newest values."""
    named = [
        f'<span><i style="background:{_colour(line.name, number)}"></i>{escape(line.name)} '
        f"<b>{escape(shown(line.last, unit))}</b></span>"
        for number, line in enumerate(lines[:MOST_NAMED])
    ]
    rest = len(lines) - MOST_NAMED
    return f'<div class="legend">{"".join(named)}{f"<span>and {rest} more</span>" if rest > 0 else ""}</div>'


def figures(lines: Sequence[Line], unit: str) -> str:
    """Newest values in large type, with their names where they have any."""
    if not lines:
        return f'<p class="unknown">{UNKNOWN}</p>'
    return '<div class="figures">{}</div>'.format(
        "".join(
            f"<span><small>{escape(line.name)}</small>{escape(shown(line.last, unit))}</span>" for line in lines
        )
    )


def _colour(name: str, number: int) -> str:
    return PHASES.get(name, COLOURS[number % len(COLOURS)])


def _bands(lines: Sequence[Line]) -> Iterator[tuple[Line, Sequence[Point], Mapping[float, float]]]:
    """Each line on top of those before it: its upper edge, and the lower one by time."""
    floor: dict[float, float] = {}
    for line in lines:
        upper = [(at, floor.get(at, 0.0) + value) for at, value in line.series.points if value == value]
        yield line, upper, dict(floor)
        floor |= dict(upper)


def _pieces(points: Sequence[Point], step: float) -> Iterator[list[Point]]:
    """The points without NaN, parted where some are missing."""
    piece: list[Point] = []
    for at, value in points:
        if value != value or (piece and at - piece[-1][0] > 1.5 * step):
            if piece:
                yield piece
            piece = []
        if value == value:
            piece.append((at, value))
    if piece:
        yield piece


def _curve(plane: Plane, points: Sequence[Point], colour: str) -> str:
    path = " ".join(f"{plane.x(at):.1f},{plane.y(value):.1f}" for at, value in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>'


def _band(plane: Plane, points: Sequence[Point], floor: Mapping[float, float], colour: str) -> str:
    edge = [(at, floor.get(at, 0.0)) for at, _ in reversed(points)]
    path = " ".join(f"{plane.x(at):.1f},{plane.y(value):.1f}" for at, value in [*points, *edge])
    return f'<polygon points="{path}" fill="{colour}" fill-opacity="0.85"/>'


def _grid(plane: Plane, ticks: Sequence[float], unit: str) -> str:
    parts = []
    for tick in ticks:
        y = plane.y(tick)
        parts.append(f'<line x1="{LEFT}" x2="{plane.width - RIGHT:.0f}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        text = escape(on_axis(tick, unit))
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = plane.start + (plane.end - plane.start) * share
        anchor = "start" if share == 0 else "end" if share == 1 else "middle"
        clock = time.strftime("%H:%M:%S", time.gmtime(at))
        parts.append(
            f'<text x="{plane.x(at):.1f}" y="{plane.height - 6:.1f}" text-anchor="{anchor}">{clock}</text>'
        )
    return "".join(parts)


def _ticks(low: float, high: float, unit: str) -> list[float]:
    """Round numbers around all values, from 0 where that costs little of the picture."""
    if 0 <= low < 0.7 * high:
        low = 0.0
    step = round_step((high - low) or abs(high) or 1.0, unit)
    first, last = math.floor(low / step), math.ceil(high / step - 1e-9)
    return [step * count for count in range(first, max(last, first + 1) + 1)]
