"""`paceline submit`: one normal run of the user's own job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paceline_tuner.client import TunerClient


@pytest.fixture
def done(job: Any, submitter_of: Any, tuner: Any) -> Any:
    """A study that is over, not proved, in the shared tuner."""
    submitter_of(job.study(budget={"trials": 3}))
    return TunerClient(tuner.url).study(job.name)


@pytest.fixture
def submitter_of(begin: Any, job: Any, tuner: Any, tmp_path: Path) -> Any:
    """Tunes a study to its end."""

    def run(_: object) -> None:
        words = ("tune", job.file, "--directory", tmp_path / "study", "--tuner", tuner.url)
        command = begin(*words, "--agent", "http://127.0.0.1:9")
        assert command.wait() == 0, command.errors

    return run


def test_what_is_not_proved_is_run_only_when_asked_for(done: Any, job: Any, begin: Any, tuner: Any) -> None:
    best = done["best"]["params"].get("placeholder.ms", 50)
    for flags, ms in (((), 50), (("--even-unproven",), best)):
        words = ("submit", "--study", job.name, "--tuner", tuner.url, *flags)
        command = begin(*words, "--", "sh", "-c", "echo it runs with {ms}; exit 5")
        assert command.wait() == 5, "the job's own status"
        assert command.output == f"it runs with {ms}\n"
        assert command.errors.startswith(f"paceline submit: placeholder.ms={ms} (")
    assert TunerClient(tuner.url).study(job.name)["counts"] == done["counts"], "it is no run of the study"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--study", "nobody"), 2, "no command: put it after --"),
        (("--study", "nobody", "--", "true"), 1, "no study 'nobody'"),
    ],
)
def test_what_cannot_be_run_is_one_clear_line(
    begin: Any, tuner: Any, words: tuple[str, ...], status: int, said: str
) -> None:
    command = begin("submit", "--tuner", tuner.url, *words)
    assert command.wait() == status
    (line,) = command.errors.splitlines()
    assert line.startswith(f"paceline submit: {said}")


def test_a_study_that_has_not_begun(begin: Any, job: Any, tuner: Any) -> None:
    from paceline_tuner.study.codec import spec_to_json

    TunerClient(tuner.url).create_study(spec_to_json(job.study()))
    command = begin("submit", "--tuner", tuner.url, "--study", job.name, "--", "true")
    assert command.wait() == 1
    assert f"study {job.name} has not begun" in command.errors
