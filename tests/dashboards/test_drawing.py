from __future__ import annotations

import math
import re
from dataclasses import replace
from xml.etree import ElementTree

from paceline_dashboards.drawing import Graph, Line, curves, figures, legend
from paceline_dashboards.prometheus import Series

GRAPH = Graph("s", stacked=False, floor=0.0, size=(600.0, 200.0), span=(0.0, 10.0), step=1.0)


def line(name: str, *points: tuple[float, float]) -> Line:
    return Line(name, Series({}, points))


def test_what_is_unknown_is_said() -> None:
    assert "n/a" in curves([], GRAPH)
    assert "n/a" in figures([], "s")
    assert "svg" not in curves([line("a")], GRAPH)


def test_curves_have_gaps_where_values_are_missing() -> None:
    known = [(0.0, 1.0), (1.0, 2.0), (5.0, 1.0), (6.0, math.nan), (7.0, 3.0), (8.0, 1.0)]
    drawn = ElementTree.fromstring(curves([line("a", *known)], GRAPH))
    pieces = [element.get("points", "").split() for element in drawn.iter("polyline")]
    assert [len(piece) for piece in pieces] == [2, 1, 2]


def test_stacked_bands_stand_on_each_other() -> None:
    lines = [line("forward", (0.0, 1.0), (1.0, 1.0)), line("backward", (0.0, 2.0), (1.0, 2.0))]
    drawn = ElementTree.fromstring(curves(lines, replace(GRAPH, stacked=True)))
    first, second = (
        [float(point.split(",")[1]) for point in element.get("points", "").split()]
        for element in drawn.iter("polygon")
    )
    assert first[0] == second[-1], "the second begins where the first ends"
    assert second[0] < first[0]


def test_names_are_escaped_and_many_are_counted() -> None:
    text = legend([line(f"<rank {number}>", (0.0, 0.5)) for number in range(9)], "percentunit")
    assert "&lt;rank 0&gt;" in text and "<rank" not in text and "50 %" in text
    assert "and 3 more" in re.sub(r"<[^>]+>", "", text)
