from __future__ import annotations

import math

import pytest

from paceline_dashboards.units import on_axis, round_step, shown


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "s", "n/a"),
        (math.nan, "percentunit", "n/a"),
        (0.0, "s", "0 s"),
        (0.0, "percentunit", "0 %"),
        (0.3, "s", "300 ms"),
        (0.01234, "s", "12.3 ms"),
        (75.0, "s", "75 s"),
        (0.0417, "percentunit", "4.17 %"),
        (1.0, "percentunit", "100 %"),
        (2.5 * 2**30, "bytes", "2.5 GiB"),
        (1.755e9, "hertz", "1.75 GHz"),
        (520.0, "watt", "520 W"),
        (4_160.0, "watt", "4.16 kW"),
        (61.0, "celsius", "61 °C"),
        (40_900_000.0, "Bps", "40.9 MB/s"),
        (7509.4, "suffix: tokens/s", "7 509 tokens/s"),
        (12_300.0, "short", "12.3 K"),
        (2.345, "short", "2.35"),
        (0.000516, "none", "0.000516"),
        (900.0, "none", "900"),
        (-1.5, "short", "-1.5"),
    ],
)
def test_shown(value: float | None, unit: str, text: str) -> None:
    assert shown(value, unit) == text


def test_an_axis_leaves_the_suffix_to_the_legend() -> None:
    assert on_axis(2000.0, "suffix: tokens/s") == "2 000"
    assert on_axis(0.2, "s") == "200 ms"


@pytest.mark.parametrize(
    ("extent", "unit", "step"), [(1.0, "none", 0.25), (9.0, "none", 2.0), (30 * 2**30, "bytes", 10 * 2**30)]
)
def test_steps_are_round(extent: float, unit: str, step: float) -> None:
    assert round_step(extent, unit) == pytest.approx(step)
