from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline_agent.supervise.reporting import Reporter, ReportingSettings, origin
from paceline_agent.supervise.rings import OwnRings
from paceline_exporters.attach import layout
from paceline_exporters.attach.recorder import Recorder
from paceline_exporters.messages import Report

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def recorder(rings: Path) -> Recorder:
    made = Recorder(rings, {"run_id": "r", "rank": 0, "supervisor": "token"})
    write(made, 5)
    made.event("start")
    made.event("first_step", 1.0)
    return made


def write(recorder: Recorder, count: int) -> None:
    for _ in range(count):
        recorder.step([recorder._next_step + 1.0, *[0.5] * (len(layout.STEP_FIELDS) - 1)])


@pytest.fixture
def report(rings: Path) -> Iterator[Callable[..., Reporter]]:
    opened: list[OwnRings] = []

    def start(tuner: str, agent: str = NOBODY, **settings: float) -> Reporter:
        quick = {"period_seconds": 0.02, "agent_wait_seconds": 0.0, "flush_seconds": 0.1, **settings}
        opened.append(OwnRings(rings, "token"))
        reporter = Reporter(ReportingSettings(tuner, agent, "n", **quick), opened[-1])
        reporter.start()
        return reporter

    yield start
    for one in opened:
        one.close()


Start = Callable[..., Any]


def test_steps_are_reported_once_as_they_come(serve: Start, report: Start, recorder: Recorder) -> None:
    tuner = serve()
    reporter = report(tuner.url)
    tuner.wait(lambda: len(tuner.steps()) == 5)
    write(recorder, 2)
    tuner.wait(lambda: len(tuner.steps()) == 7)
    assert reporter.finish() == []
    assert tuner.steps() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    assert Report.decode(tuner.received[0]).reporter == "run"
    assert tuner.received[0]["rings"][0]["header"]["run_id"] == "r"


def test_a_tuner_that_goes_and_comes_back_misses_nothing(serve: Start, report: Start, recorder: Recorder) -> None:
    tuner = serve()
    reporter = report(tuner.url)
    tuner.wait(lambda: len(tuner.steps()) == 5)
    tuner.away = True
    write(recorder, 3)
    time.sleep(0.1)
    tuner.away = False
    tuner.wait(lambda: len(tuner.steps()) == 8)
    assert reporter.finish() == []
    assert tuner.steps() == [float(step) for step in range(1, 9)]


def test_what_a_tuner_that_stays_away_did_not_get_is_handed_over_whole(report: Start, recorder: Recorder) -> None:
    write(recorder, 1300)
    unsent = report(NOBODY).finish()
    reports = [Report.decode(json.loads(json.dumps(item))) for item in unsent]
    windows = [ring.window for one in reports for ring in one.rings if ring.window is not None]
    assert [(window.first, window.last) for window in windows] == [(0, 511), (512, 1023), (1024, 1304)]
    assert [event.kind for one in reports for ring in one.rings for event in ring.events] == [
        "start",
        "first_step",
    ]


def test_a_tuner_that_does_not_know_the_run_is_not_asked_again(
    serve: Start, report: Start, recorder: Recorder
) -> None:
    tuner = serve()
    tuner.known = False
    reporter = report(tuner.url)
    tuner.wait(lambda: len(tuner.received) == 1)
    write(recorder, 3)
    assert reporter.finish() == []
    assert len(tuner.received) == 1


def test_an_agent_that_lists_the_ring_keeps_us_silent_until_the_end(
    serve: Start, report: Start, recorder: Recorder
) -> None:
    tuner, agent = serve(), serve()
    agent.listed = {"tuner": tuner.url, "rings": [{"ring": recorder.uuid}]}
    reporter = report(tuner.url, agent.url)
    time.sleep(0.3)
    assert tuner.received == []
    assert reporter.finish() == []
    assert tuner.steps() == [1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize(
    "listed",
    [
        {"tuner": "http://127.0.0.1:1", "rings": "all"},
        {"tuner": None, "rings": "all"},
        {"tuner": "http://[broken", "rings": "all"},
        {"tuner": "ours", "rings": []},
        {"tuner": "ours", "rings": [{}]},
        {"tuner": "ours", "rings": 5},
        {"tuner": "ours"},
        [],
        "text",
        None,
    ],
)
def test_an_agent_of_another_tuner_or_none_at_all_does_not_count(
    serve: Start, report: Start, recorder: Recorder, listed: Any
) -> None:
    tuner, agent = serve(), serve()
    if isinstance(listed, dict):
        rings = [{"ring": recorder.uuid}] if listed.get("rings") == "all" else listed.get("rings")
        listed = {**listed, "rings": rings, "tuner": tuner.url if listed["tuner"] == "ours" else listed["tuner"]}
    agent.listed = listed
    reporter = report(tuner.url, agent.url)
    tuner.wait(lambda: len(tuner.steps()) == 5)
    assert reporter.finish() == []


def test_a_ring_has_time_to_be_listed_first(serve: Start, report: Start, recorder: Recorder) -> None:
    tuner = serve()
    reporter = report(tuner.url, agent_wait_seconds=3600.0)
    time.sleep(0.2)
    assert tuner.received == []
    reporter.finish()
    assert len(tuner.steps()) == 5


@pytest.mark.parametrize(
    "answer", [[], {"rings": []}, {"rings": {"x": 1}}, {"rings": {"x": {"next_record": "1"}}}]
)
def test_an_answer_that_is_none_is_as_good_as_no_answer(
    serve: Start, report: Start, recorder: Recorder, answer: Any
) -> None:
    tuner = serve()
    tuner.acknowledge = lambda _: answer
    reporter = report(tuner.url)
    tuner.wait(lambda: len(tuner.received) > 1)
    assert [ring["window"]["last"] for one in reporter.finish() for ring in one["rings"]] == [4]


def test_a_proxy_for_the_world_outside_is_not_asked(
    serve: Start, report: Start, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", NOBODY)
    tuner = serve()
    assert report(tuner.url).finish() == []
    assert len(tuner.steps()) == 5


def test_other_peoples_rings_are_not_reported(
    serve: Start, report: Start, rings: Path, recorder: Recorder
) -> None:
    other = Recorder(rings, {"run_id": "other", "rank": 0, "supervisor": "another"})
    write(other, 3)
    tuner = serve()
    report(tuner.url).finish()
    assert {ring["ring"] for one in tuner.received for ring in one["rings"]} == {recorder.uuid}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://localhost:80/x", "http://127.0.0.1:80", True),
        ("http://a:1", "http://a:2", False),
        ("http://a:1", "http://b:1", False),
    ],
)
def test_origin(one: str, other: str, same: bool) -> None:
    assert (origin(one) == origin(other)) is same


def test_a_job_killed_outright_is_reported_to_its_last_step(serve: Start, begin: Start, trains: str) -> None:
    tuner = serve()
    process: subprocess.Popen[str] = begin(sys.executable, trains, "700", "60", flags=("--tuner", tuner.url))
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert tuner.steps() == [float(step) for step in range(1, 701)]
