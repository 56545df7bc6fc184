"""Progress, as lines in a log and as a picture on a terminal."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from paceline_tuner.client import TunerClient
from paceline_tuner.submit import progress as module
from paceline_tuner.submit.progress import Progress, runs_done, standing, time_left, value


def view(
    trials: int = 2, pairs: int = 0, state: str = "search", max_pairs: int = 12, **fields: Any
) -> dict[str, Any]:
    return {
        "state": state,
        "progress": {"trials": trials, "of_trials": 5, "pairs": pairs, "of_pairs": max_pairs},
        "spec": {"proof": {"min_pairs": 6, "max_pairs": max_pairs}},
        **fields,
    }


@pytest.mark.parametrize(
    ("seen", "done"),
    [
        (view(), (2, 17)),
        (view(max_pairs=0), (2, 5)),
        (view(trials=5, pairs=3, state="proof"), (11, 17)),
        (view(trials=5, pairs=8, state="proof"), (21, 21)),
        (view(trials=5, state="done"), (5, 5)),
        (view(trials=5, pairs=7, state="done"), (19, 19)),
    ],
)
def test_runs_closed_and_expected(seen: dict[str, Any], done: tuple[int, int]) -> None:
    assert runs_done(seen) == done


def test_where_a_study_stands() -> None:
    known = view(best={"value": 123.456789}, default={"value": 100.0})
    assert standing(known, 20.0) == "search: 2 of 17 runs, best 123.46, default 100, about 2 min left"
    assert standing(view(trials=0), 20.0).endswith("best n/a, default n/a, time left n/a")
    assert time_left(view(trials=4, max_pairs=0), 40.0) == "about 10 s left"
    assert value({"value": None}) == "n/a"


@pytest.mark.parametrize("terminal", [False, True])
def test_it_is_shown_while_runs_go_on(
    tuner: Any, job: Any, submitter: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr(module, "REFRESH_SECONDS", 0.0)
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=200, highlight=False, color_system=None)
    loop = submitter(tuner.url, job.study(budget={"trials": 3}))
    progress = Progress(loop.tuner, loop.study, loop.running, console)
    loop.say, loop.tick = progress.say, progress.tick
    with progress:
        loop.run()
    shown = text.getvalue()
    assert f"{loop.study}-0-0-" in shown and "trial 0: placeholder.ms=50" in shown
    assert "finished: 160 samples/s over 6 steps of all 1 ranks" in shown
    assert " of 3 runs, best " in shown
    assert ("starting" in shown or "step " in shown) == terminal
    assert ("\x1b[" in shown) == terminal


def test_a_tuner_that_is_away_leaves_the_last_picture(
    job: Any, submitter: Callable[..., Any], own_tuner: Any
) -> None:
    text = io.StringIO()
    loop = submitter(own_tuner.url, job.study())
    progress = Progress(TunerClient(own_tuner.url), loop.study, {}, Console(file=text))
    own_tuner.kill()
    progress.tick()
    progress.tick()
    assert text.getvalue() == ""
