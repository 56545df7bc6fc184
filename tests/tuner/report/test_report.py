"""The report: its figures come from what the service says of a study, and its page holds them."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from paceline_tuner.report import report_page, study_report
from paceline_tuner.report.charts import phases_chart, proof_chart, ticks, trials_chart

PHASES = {
    "step_seconds": 0.2,
    "data_wait_seconds": 0.01,
    "sync_wait_seconds": 0.01,
    "forward_seconds": 0.08,
    "backward_seconds": 0.09,
    "optimizer_seconds": 0.005,
    "other_seconds": 0.005,
}


def a_run(kind: str, value: float | None, pair: int | None = None, outcome: str = "finished") -> dict[str, Any]:
    summary = {"phases": PHASES} if value is not None else None
    return {
        "run_id": f"{kind}-{value}",
        "kind": kind,
        "pair": pair,
        "outcome": outcome,
        "value": value,
        "summary": summary,
        "closed_at": 1100.0,
    }


def a_trial(number: int, params: dict[str, Any], value: float | None, *runs: dict[str, Any]) -> dict[str, Any]:
    state = "complete" if value is not None else "failed"
    own = a_run("trial", value, outcome="finished" if value is not None else "failed")
    reason = "out of memory: <rank 0>" if value is None else "measured"
    return {
        "number": number,
        "params": params,
        "state": state,
        "value": value,
        "reason": reason,
        "runs": [own, *runs],
    }


@pytest.fixture
def view() -> dict[str, Any]:
    default = [a_run("pair", 100.0 + pair, pair) for pair in range(6)]
    best = [a_run("pair", 150.0 + pair, pair) for pair in range(6)]
    spec = {
        "objective": {"kind": "throughput", "unit": "tokens", "metric": "", "max_steps": 0},
        "command": ["torchrun", "train.py"],
        "proof": {"min_pairs": 6, "max_pairs": 6},
    }
    proof = {
        "trial": 2,
        "ratio": 1.49,
        "low": 1.45,
        "high": 1.51,
        "verdict": "use this",
        "reason": "trial 2 is better",
    }
    return {
        "name": "s",
        "state": "done",
        "reason": "r",
        "created_at": 1000.0,
        "spec": spec,
        "proof": proof,
        "best": {"trial": 2, "value": 160.0},
        "trials": [
            a_trial(0, {}, 101.0, *default),
            a_trial(1, {"bf16": True}, None),
            a_trial(2, {"ddp.bucket_cap_mb": None}, 160.0, *best),
        ],
    }


BEST = {"arguments": {}, "ddp": {"bucket_cap_mb": None}, "env": {}, "placeholders": {}}


def test_the_report_has_every_figure(view: dict[str, Any]) -> None:
    report = study_report(view, BEST, 61.25)
    assert {"trials", "default", "best", "pairs", "ratio", "ratio_ci95", "verdict", "seconds"} <= report.keys()
    assert report["ratio_ci95"] == [1.45, 1.51] and report["verdict"] == "use this" and report["seconds"] == 61.2
    assert [trial["value"] for trial in report["trials"]] == [101.0, None, 160.0]
    assert report["trials"][0]["seconds_since_start"] == 100.0
    assert report["default"]["median_of_pairs"] == 102.5 and report["best"]["median_of_pairs"] == 152.5
    assert report["best"]["ddp"] == {"bucket_cap_mb": None}
    assert report["pairs"][5] == {"pair": 5, "default": 105.0, "best": 155.0, "ratio": 155 / 105}
    assert report["default"]["phases_seconds"]["forward"] == 0.08


def test_a_pair_with_one_run_is_no_pair(view: dict[str, Any]) -> None:
    view["trials"][0]["runs"].pop()
    assert len(study_report(view, BEST, 1.0)["pairs"]) == 5


def test_a_study_without_proof_claims_nothing(view: dict[str, Any]) -> None:
    view |= {"proof": None, "state": "failed", "reason": "the default did not run", "best": None}
    report = study_report(view, None, 1.0)
    assert report["ratio"] is None and report["ratio_ci95"] is None and report["verdict"] == "no verdict"
    page = report_page(report, "paceline submit")
    assert "the default did not run" in page and "Apply it" not in page and "No pairs were run" in page


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_escaped_and_fetches_nothing(view: dict[str, Any]) -> None:
    text = report_page(study_report(view, BEST, 61.0), "paceline submit --study s -- torchrun 'a<b.py'")
    page = _Page()
    page.feed(text)
    assert page.open == [] and page.fetched == [] and "<script" not in text
    assert "<rank 0>" not in text and "&lt;rank 0&gt;" in text and "a&lt;b.py" in text
    assert "ddp.bucket_cap_mb=unset" in text and "1.490" in text


@pytest.mark.parametrize("most", [0.0003, 1.0, 7.3, 10.0, 99.0, 16654.0, 4.2e9])
def test_ticks_are_few_and_reach_the_top(most: float) -> None:
    found = ticks(most)
    assert 1 <= len(found) <= 6 and found[-1] >= most * (1 - 1e-9)


def test_charts_say_that_there_is_nothing() -> None:
    assert "No trial ended" in trials_chart([], "tokens per second")
    assert "No step was measured" in phases_chart({}, {})
    assert "No pairs were run" in proof_chart([], None, None)


def test_an_open_interval_is_not_drawn(view: dict[str, Any]) -> None:
    assert 'class="interval"' not in proof_chart([{"ratio": 1.2}], 1.2, [0.0, None])
    assert 'class="interval"' in proof_chart([{"ratio": 1.2}], 1.2, [1.1, 1.3])
