"""The end of a study, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paceline_tuner.submit.verdict import ratio_words, verdict_lines

USE = {
    "verdict": "use this",
    "reason": "trial 4 is 1.31 times as good",
    "ratio": 1.31,
    "low": 1.24,
    "high": 1.38,
    "pairs": 6,
}


@pytest.mark.parametrize(
    ("view", "lines"),
    [
        (
            {"state": "failed", "proof": None},
            ["study s failed: why", "  logs are at /s/runs/RUN/log.txt"],
        ),
        ({"state": "done", "proof": None}, ["study s: why"]),
        (
            {"state": "done", "proof": {"verdict": "keep your default", "reason": "nothing was better"}},
            ["study s: keep your default: nothing was better"],
        ),
        (
            {"state": "done", "proof": USE},
            [
                "study s: use this: trial 4 is 1.31 times as good",
                "  paceline best s                      prints the configuration in every form",
                "  paceline submit --study s -- COMMAND   runs your own job with it",
            ],
        ),
    ],
)
def test_what_a_study_came_to(view: dict[str, Any], lines: list[str]) -> None:
    assert verdict_lines({"name": "s", **view}, "why", Path("/s/runs")) == lines


def test_a_ratio_with_its_interval_or_without() -> None:
    assert ratio_words(USE) == ("1.310 times the default, 95 % interval 1.240 to 1.380, from 6 alternating pairs")
    open_above = {**USE, "high": None, "pairs": 2}
    assert ratio_words(open_above) == (
        "1.310 times the default, no 95 % interval from so few pairs, from 2 alternating pairs"
    )
