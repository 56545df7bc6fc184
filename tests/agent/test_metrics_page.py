from __future__ import annotations

from pathlib import Path

from paceline_agent.metrics_page import page


def test_the_page_is_what_the_code_says() -> None:
    written = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert written.read_text() == page(), "run `python -m paceline_agent.metrics_page > docs/metrics.md`"
