from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from paceline_agent.doctor.checkup import CHECKS, FLAGS, check_all
from paceline_agent.doctor.finding import Finding
from paceline_agent.doctor.visit import Visit


def fine(visit: Visit) -> Iterator[Finding]:
    yield Finding("fine", "ok", visit.world.node)


def wrong(_visit: Visit) -> Iterator[Finding]:
    yield Finding("wrong", "ok", "so far")
    raise RuntimeError("no such thing")


def test_a_check_whose_flag_is_wrong_says_so_only(visit: Callable[..., Visit]) -> None:
    one = visit(complaints=["--path.procfs: /x is not a directory", "--tuner.url: expected an address"])
    found = {finding.subject: finding for finding in check_all(one, {"host": wrong, "tuner": wrong, "web": fine})}
    assert found["fine"].status == "ok"
    told = [(found[name].status, found[name].why, found[name].fix) for name in ("host", "tuner")]
    assert told == [
        ("broken", "--path.procfs is wrong", "see settings"),
        ("broken", "--tuner.url is wrong", "see settings"),
    ]


def test_flags_and_checks_that_are_there() -> None:
    assert {name for names in FLAGS.values() for name in names} <= set(CHECKS)


def test_a_check_that_hangs_or_fails_costs_itself_only(visit: Callable[..., Visit]) -> None:
    release = threading.Event()

    def wedged(_visit: Visit) -> Iterator[Finding]:
        release.wait()
        yield Finding("wedged", "ok", "too late")

    checks: dict[str, Any] = {"wedged": wedged, "wrong": wrong, "fine": fine}
    found = check_all(visit(), checks, seconds=2.0)
    release.set()
    assert [(finding.subject, finding.status) for finding in found] == [
        ("wedged", "broken"),
        ("wrong", "broken"),
        ("fine", "ok"),
    ]
    assert found[1].why == "RuntimeError: no such thing"
    assert found[2].seen == "node-a"
