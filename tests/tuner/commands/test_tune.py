"""`paceline tune` as its user meets it: interrupted, killed, started twice, on disks that cannot be written."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline_tuner.client import TunerClient

Begin = Callable[..., Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The study's directory."""
    return tmp_path / "study"


@pytest.fixture
def tune(begin: Begin, job: Any, root: Path) -> Begin:
    """Starts `paceline tune` on the job's study, with a private tuner unless told otherwise."""
    return lambda *flags: begin("tune", job.file, "--directory", root, "--agent", "http://127.0.0.1:9", *flags)


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


def private_tuner_of(root: Path) -> int:
    return int((root / "tuner.sqlite.lock").read_text())


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except FileNotFoundError:
        return False


def test_a_study_with_a_tuner_of_its_own_and_then_again(tune: Begin, job: Any, root: Path) -> None:
    job.study(budget={"trials": 3})
    first = tune()
    assert first.wait() == 0, first.errors
    assert first.output.startswith(f"study {job.name}: ")
    assert f"{job.name}-0-0-" in first.errors and "trial 0: ms=50" in first.errors.replace("placeholder.", "")
    assert "done: 3 of 3 runs, best " in first.errors or "search: " in first.errors
    study = json.loads((root / "study.json").read_text())
    assert (study["state"], len(study["trials"])) == ("done", 3)
    assert not alive(private_tuner_of(root))
    again = tune()
    assert again.wait() == 0, again.errors
    assert again.output == first.output
    assert len(job.launches()) == 3, "a study that is done starts nothing"


def test_killed_outright_the_same_command_goes_on(tune: Begin, job: Any, root: Path, until: Any) -> None:
    job.study("ok", "endless", "ok", budget={"trials": 3})
    first = tune()
    until(lambda: job.hangs(1), "the second run")
    tuner = private_tuner_of(root)
    first.end(signal.SIGKILL)
    again = tune()
    assert again.wait() == 0, again.errors
    assert not alive(tuner), "the tuner that was left over is gone"
    assert "taken up again, interrupted" in again.errors
    assert len(job.launches()) == 4
    study = json.loads((root / "study.json").read_text())
    assert [trial["state"] for trial in study["trials"]] == ["complete"] * 3
    assert [run["outcome"] for run in study["trials"][0]["runs"]] == ["finished"], "what was known was kept"
    assert job.processes() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_the_same_command_goes_on(
    tune: Begin, job: Any, root: Path, tuner: Any, until: Any, number: signal.Signals
) -> None:
    job.study("ok", "endless", "ok", budget={"trials": 2})
    first = tune("--tuner", tuner.url)
    until(lambda: job.hangs(1), "the second run")
    assert first.end(number) == 130
    assert "interrupted: ending what runs; the same command goes on from here" in first.errors
    assert "Traceback" not in first.errors
    assert job.processes() == []
    again = tune("--tuner", tuner.url)
    assert again.wait() == 0, again.errors
    assert len(job.launches()) == 3
    runs = TunerClient(tuner.url).study(job.name)["trials"][1]["runs"]
    assert [run["outcome"] for run in runs] == ["interrupted", "finished"]


def test_a_private_tuner_that_is_killed_is_started_again(tune: Begin, job: Any, root: Path, until: Any) -> None:
    job.study(budget={"trials": 6})
    command = tune()
    for number in (1, 2):
        until(lambda number=number: len(job.launches()) > number, "a launch")
        os.kill(private_tuner_of(root), signal.SIGKILL)
    assert command.wait() == 0, command.errors
    study = json.loads((root / "study.json").read_text())
    assert [len(trial["runs"]) for trial in study["trials"]] == [1] * 6, "no run twice"
    assert [trial["state"] for trial in study["trials"]] == ["complete"] * 6
    assert command.errors.count("waiting for the tuner: ") == command.errors.count("the tuner answers again")


def test_a_second_one_in_the_same_directory_refuses(tune: Begin, job: Any, root: Path, until: Any) -> None:
    job.study("endless")
    first = tune()
    until(lambda: job.hangs(0), "the first run")
    second = tune()
    assert second.wait() == 1
    (line,) = second.errors.splitlines()
    assert line == (
        f"paceline tune: process {first.process.pid} works on the study in {root} already: let it go on, or "
        "end it first; another study takes another --directory"
    )
    assert first.process.poll() is None and len(job.launches()) == 1


def test_a_study_that_changed_under_its_name_is_refused(tune: Begin, job: Any, tuner: Any) -> None:
    job.study(budget={"trials": 1})
    assert tune("--tuner", tuner.url).wait() == 0
    job.study(budget={"trials": 2})
    changed = tune("--tuner", tuner.url)
    assert changed.wait() == 1
    (line,) = changed.errors.splitlines()
    assert line.startswith(f"paceline tune: there is another study named {job.name}, with other contents")
    assert "give this one a new name" in line


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:9", "no answer from the tuner at http://127.0.0.1:9 ("),
        ("localhost:19471", "expected a tuner's URL such as http://127.0.0.1:19471, got 'localhost:19471'"),
    ],
)
def test_a_tuner_that_is_not_there_is_one_clear_line(tune: Begin, job: Any, url: str, said: str) -> None:
    job.study()
    command = tune("--tuner", url)
    assert command.wait() == 1
    (line,) = command.errors.splitlines()
    assert line.startswith(f"paceline tune: {said}")


def test_a_malformed_study_names_file_line_and_field(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(
        "study: s\ncommand: train\nknobs:\n  learning_rate: {low: 1, high: 0.1}\n"
    )
    command = begin("tune", tmp_path / "study.yaml")
    assert command.wait() == 2
    assert f"paceline tune: {tmp_path}/study.yaml:" in command.errors
    assert f"{tmp_path}/study.yaml:1: objective: is missing: add it" in command.errors
    assert "Traceback" not in command.errors


def test_a_directory_that_cannot_be_written_is_one_clear_line(begin: Begin, job: Any, tmp_path: Path) -> None:
    job.study()
    (tmp_path / "file").touch()
    command = begin("tune", job.file, "--directory", tmp_path / "file" / "study")
    assert command.wait() == 1
    (line,) = command.errors.splitlines()
    assert line.startswith("paceline tune: cannot write ") and str(tmp_path / "file") in line
    assert line.endswith("or give another --directory")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", place]).returncode:
        pytest.skip("a full disk is tried on a small tmpfs, which takes root and the right to mount")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def fill(place: Path) -> Path:
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return filler


def test_a_disk_that_is_full_from_the_start_is_one_clear_line(begin: Begin, job: Any, small_disk: Path) -> None:
    job.study()
    fill(small_disk)
    command = begin("tune", job.file, "--directory", small_disk / "study")
    assert command.wait() == 1
    (line,) = command.errors.splitlines()
    assert line.startswith("paceline tune: ") and str(small_disk) in line
    assert "free" in line and "Traceback" not in line


def test_a_disk_that_fills_up_is_said_once_and_freed_the_study_goes_on(
    begin: Begin, job: Any, small_disk: Path, until: Any
) -> None:
    job.study("ok", "ok", "endless", "ok", budget={"trials": 4, "run": "1h"})
    root = small_disk / "study"
    command = begin("tune", job.file, "--directory", root, "--agent", "http://127.0.0.1:9")
    until(lambda: job.hangs(2), "the third run")
    filler = fill(small_disk)
    for pid in job.processes():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ends just now
            if b"job.py" in b"".join(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1:2]):
                os.kill(pid, signal.SIGKILL)
    until(lambda: "waiting for the tuner: " in command.errors or command.process.poll() is not None, "its word")
    filler.unlink()
    if command.wait() == 1:
        assert f"cannot write {small_disk}" in last_line(command.errors), command.errors
        command = begin("tune", job.file, "--directory", root, "--agent", "http://127.0.0.1:9")
        assert command.wait() == 0, command.errors
    assert "Traceback" not in command.errors
    with sqlite3.connect(root / "tuner.sqlite") as database:
        counted = database.execute("select count(*) from paceline_trials where state = 'complete'").fetchone()
    database.close()
    assert counted == (4,)
