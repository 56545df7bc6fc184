"""`paceline best`: what a study knows, in the forms a job takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def done(job: Any, begin: Any, tmp_path: Path) -> Path:
    """The directory of a study that is over, with a tuner of its own."""
    job.study(budget={"trials": 2})
    command = begin("tune", job.file, "--directory", tmp_path / "study", "--agent", "http://127.0.0.1:9")
    assert command.wait() == 0, command.errors
    return tmp_path / "study"


def test_everything_and_each_form(done: Path, job: Any, begin: Any) -> None:
    seen = json.loads((done / "study.json").read_text())
    ms = seen["best"]["params"].get("placeholder.ms", 50)
    everything = begin("best", job.name, "--directory", done)
    assert everything.wait() == 0, everything.errors
    assert everything.output.startswith(f"# study {job.name}, trial {seen['best']['trial']}: ")
    assert f"# or all of it at once: paceline submit --study {job.name} -- COMMAND" in everything.output
    assert (
        f"ms={ms}" in everything.output or f"{{ms}} is {ms}" in everything.output or str(ms) in everything.output
    )
    arguments = begin("best", job.name, "--directory", done, "--format", "arguments")
    assert arguments.wait() == 0 and json.loads(arguments.output) == {}
    for form in ("exports", "flags"):
        command = begin("best", job.name, "--directory", done, "--format", form)
        assert command.wait() == 0 and command.output.strip() == ""


def test_it_asks_the_tuner_of_a_study_that_runs(job: Any, begin: Any, tmp_path: Path, until: Any) -> None:
    job.study("ok", "endless", budget={"trials": 2})
    tune = begin("tune", job.file, "--directory", tmp_path / "study", "--agent", "http://127.0.0.1:9")
    until(lambda: job.hangs(1), "the second run")
    best = begin("best", job.name, "--directory", tmp_path / "study")
    assert best.wait() == 0, best.errors
    assert f"# study {job.name}, trial 0: not proved yet" in best.output
    assert tune.process.poll() is None


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "no answer from the tuner at http://127.0.0.1:"),
        (("--tuner", "ftp://here"), "expected a tuner's URL such as"),
    ],
)
def test_a_tuner_that_is_not_there_is_one_clear_line(
    begin: Any, tmp_path: Path, flags: tuple[str, ...], said: str
) -> None:
    command = begin(
        "best", "nobody", "--directory", tmp_path / "none", *(flags or ("--tuner", "http://127.0.0.1:9"))
    )
    assert command.wait() == 1
    (line,) = command.errors.splitlines()
    assert line.startswith(f"paceline best: {said}")


def test_a_study_that_is_not_known(begin: Any, tuner: Any) -> None:
    command = begin("best", "nobody", "--tuner", tuner.url)
    assert command.wait() == 1
    assert command.errors.startswith("paceline best: no study 'nobody'")
