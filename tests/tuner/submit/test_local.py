"""Runs on this machine: their directories, and what is made of what lies in them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline_exporters.messages import Outcome, Proposal
from paceline_tuner.client import TunerClient
from paceline_tuner.submit.local import LocalLauncher, LocalRun, RunDirectory


@pytest.fixture
def launch(
    tmp_path: Path, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., LocalRun]]:
    """Starts a command as a run; nobody listens where its tuner would be."""
    started: list[LocalRun] = []
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def start(*words: str, **sections: Any) -> LocalRun:
        silent = TunerClient("http://127.0.0.1:9")
        launcher = LocalLauncher(tmp_path / "study", words, silent, "http://127.0.0.1:9", {"OURS": "set"})
        started.append(launcher.start(Proposal("s", 1, "run-1", "normal", **sections).encode()))
        return started[-1]

    yield start
    for run in started:
        run.process.kill()
        run.process.communicate()
        run.directory.end_orphans()


def ended(run: LocalRun) -> tuple[Outcome, list[dict[str, Any]]]:
    run.process.wait(60)
    told = run.ended()
    assert told is not None
    return told


def test_a_run_leaves_its_files(launch: Any) -> None:
    run = launch("sh", "-c", "echo $OURS {x}; exit 3", placeholders={"x": "filled"})
    outcome, unsent = ended(run)
    assert (outcome.state, outcome.reason, outcome.exit_code, unsent) == ("failed", "crash", 3, [])
    assert run.directory.log.read_text() == "set filled\n"
    assert json.loads((run.directory.path / "proposal.json").read_text())["run_id"] == "run-1"
    assert not run.directory.supervised()


def test_a_run_is_supervised_while_it_lasts_and_ends_when_asked(launch: Any, until: Any) -> None:
    run = launch("sleep", "1000")
    until(run.directory.supervised, "the supervisor")
    assert run.ended() is None
    run.stop("it is enough")
    run.stop("and again")
    outcome, _ = ended(run)
    assert (outcome.state, outcome.reason) == ("interrupted", "stopped")
    assert run.stopped_because == "it is enough"


def test_an_abandoned_run_is_over(launch: Any) -> None:
    run = launch("sleep", "1000")
    run.abandon(30.0)
    assert run.process.returncode is not None and not run.directory.supervised()


def test_a_supervisor_that_was_killed_is_said_so_and_its_job_ended(launch: Any, until: Any) -> None:
    run = launch("sh", "-c", "echo $$; sleep 1000 & wait")
    job = int(until(run.directory.log.read_text, "the job"))
    run.process.kill()
    outcome, _ = ended(run)
    assert (outcome.state, outcome.reason) == ("failed", "killed")
    assert f"left no outcome.json in {run.directory.path}" in outcome.detail
    until(lambda: not Path(f"/proc/{job}/cmdline").exists(), "the end of what it left behind")


def test_a_run_started_again_forgets_how_it_ended_before(launch: Any) -> None:
    ended(launch("true"))
    run = launch("sleep", "1000")
    assert run.directory.outcome() is None
    run.abandon(30.0)


def test_a_directory_that_cannot_be_made_is_an_oserror(tmp_path: Path) -> None:
    (tmp_path / "study").touch()
    launcher = LocalLauncher(tmp_path / "study", ["true"], TunerClient("http://127.0.0.1:9"), "")
    with pytest.raises(NotADirectoryError):
        launcher.start({"run_id": "r"})


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"state": "odd", "reason": "done"}', "\0", '{"state": "finished"}']
)
def test_an_outcome_that_cannot_be_read_is_a_crash_that_names_the_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "outcome.json").write_text(text)
    told = RunDirectory(tmp_path).outcome()
    assert told is not None
    assert (told[0].state, told[0].reason) == ("failed", "crash")
    assert f"{tmp_path}/outcome.json is unreadable" in told[0].detail


def test_no_file_is_no_outcome_and_no_pid_no_supervisor(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    assert directory.outcome() is None and not directory.supervised()
    (tmp_path / "pid").write_text("not a number")
    assert not directory.supervised()
    (tmp_path / "pid").write_text(str(os.getpid()))  # a living process, which is another one
    assert not directory.supervised()


def test_a_submitter_that_is_killed_takes_its_runs_with_it(launch: Any, tmp_path: Path, until: Any) -> None:
    script = (
        "import sys, time\n"
        "from paceline_tuner.client import TunerClient\n"
        "from paceline_tuner.submit.local import LocalLauncher\n"
        "from pathlib import Path\n"
        "launcher = LocalLauncher(Path(sys.argv[1]), ['sleep', '1000'], TunerClient('http://127.0.0.1:9'), '')\n"
        "launcher.start({'study': 's', 'trial': 0, 'run_id': 'r', 'kind': 'normal'})\n"
        "print('started', flush=True)\n"
        "time.sleep(1000)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as submitter:
        assert submitter.stdout is not None and submitter.stdout.readline() == "started\n"
        directory = RunDirectory(tmp_path / "runs" / "r")
        until(directory.supervised, "the supervisor")
        time.sleep(0.5)  # until the supervisor watches its leash; earlier it ends with its input closed as well
        submitter.send_signal(signal.SIGKILL)
    until(lambda: not directory.supervised(), "the end of the run")
    told = directory.outcome()
    assert told is not None and told[0].detail == "stopped by leash"
