from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline_agent.negotiation import accepts_gzip, choose_format
from paceline_exporters.metrics import CONTENT_TYPES

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "text"),
        ("*/*", "text"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text"),
        ("text/plain;version=0.0.4", "text"),
        ("application/openmetrics-text", "openmetrics"),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", "openmetrics"),
        ("application/openmetrics-text; version=2.0.0", "text"),
        ("application/openmetrics-text;q=0.1,text/plain;q=0.9", "text"),
        ("application/openmetrics-text;q=0", "text"),
        ("application/openmetrics-text;q=what", "text"),
        (PROMETHEUS, "openmetrics"),
        (";;,=,q", "text"),
        ("application/*", "openmetrics"),
        ("application/*;q=0.5, text/plain;q=0.9", "text"),
        ("application/*, application/openmetrics-text;q=0", "text"),
        ("application/openmetrics-text;q=0.5, text/plain;q=0.1, */*;q=1", "openmetrics"),
        ("application/openmetrics-text;q=0, */*", "text"),
        ("application/openmetrics-text;q=0.2, */*", "text"),
        ("text/plain;q=0.2, */*", "openmetrics"),
        ("text/plain, */*", "text"),
        ("text/*, application/*", "openmetrics"),
        ("application/openmetrics-text;q=nan", "text"),
        ("application/openmetrics-text;q=7, text/plain;q=0.1", "text"),
        ("application/json", "text"),
    ],
)
def test_choose_format(accept: str, form: str) -> None:
    assert choose_format([accept]) == form


def test_all_lines_of_a_header_count() -> None:
    assert choose_format(["text/html", "application/openmetrics-text"]) == "openmetrics"
    assert choose_format([]) == "text"
    assert accepts_gzip(["br", "gzip"])
    assert not accepts_gzip([])


@pytest.mark.parametrize(
    ("header", "accepted"),
    [("", False), ("gzip", True), ("deflate, GZIP;q=0.5", True), ("gzip;q=0", False), ("*", True), ("br", False)],
)
def test_accepts_gzip(header: str, accepted: bool) -> None:
    assert accepts_gzip([header]) is accepted


HEADERS = st.lists(st.text('aq=;,*/ .\\"01é\n') | st.sampled_from([PROMETHEUS, "text/plain;q=", "gzip;q=1e999"]))


@given(HEADERS)
def test_whatever_a_client_sends_it_is_answered_in_a_format_there_is(lines: list[str]) -> None:
    assert choose_format(lines) in CONTENT_TYPES
    assert accepts_gzip(lines) in (True, False)


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_higher_quality_wins(openmetrics: float, text: float) -> None:
    accept = f"application/openmetrics-text;q={openmetrics:.3f}, text/plain;q={text:.3f}"
    better = round(openmetrics, 3) >= round(text, 3) and round(openmetrics, 3) > 0
    assert choose_format([accept]) == ("openmetrics" if better else "text")
