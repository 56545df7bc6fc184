from __future__ import annotations

from pathlib import Path

from paceline_tuner.metrics_page import page


def test_the_page_is_what_the_code_says() -> None:
    written = Path(__file__).parents[2] / "docs" / "tuner-metrics.md"
    assert written.read_text() == page(), "run `python -m paceline_tuner.metrics_page > docs/tuner-metrics.md`"
