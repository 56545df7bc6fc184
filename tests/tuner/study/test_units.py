"""Durations and shares as people write them."""

from __future__ import annotations

import pytest

from paceline_tuner.study.units import seconds, share


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (90, 90),
        (0.5, 0.5),
        ("90s", 90),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1.5 h", 5400),
        ("1d 2m", 86520),
        ("5M", 300),
    ],
)
def test_durations(text: object, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "h", "90", "2 weeks", "1:30", "-5s", 0, -1, True, None, [1], float("inf")])
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="such as 90s"):
        seconds(text)


@pytest.mark.parametrize(("text", "expected"), [("5%", 0.05), ("2.5 %", 0.025), (0.05, 0.05)])
def test_shares(text: object, expected: float) -> None:
    assert share(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "5", "%", "0%", "100%", 1, 0, 5, True, None, "nan%"])
def test_what_is_no_share(text: object) -> None:
    with pytest.raises(ValueError, match="such as 5%"):
        share(text)
