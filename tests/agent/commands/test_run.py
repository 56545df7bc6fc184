"""`paceline run` as its user meets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def paceline(directory: Path, *words: str, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    own = ["--rings.directory", str(directory / "rings"), "--outcome", str(directory / "outcome.json")]
    command = [sys.executable, "-m", "paceline_exporters", "run", *own, *flags, *words]
    strange = ("PACELINE_", "PYTHONPATH")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=120)


def outcome(directory: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((directory / "outcome.json").read_text())
    return told


def proposal(**sections: Any) -> str:
    return json.dumps({"study": "s", "trial": 1, "run_id": "r", "kind": "trial", **sections})


@pytest.mark.parametrize(
    ("words", "flags", "said"),
    [
        (("--", "no-such-command-here"), (), "cannot start 'no-such-command-here': no such command on PATH"),
        ((), (), "no command: put it after --, as in `paceline run -- torchrun train.py`"),
        (("--", "true"), ("--proposal", "/no/such"), "--proposal: cannot read '/no/such'"),
        (
            ("--", "true"),
            ("--proposal", proposal(env={"LD_PRELOAD": "x"})),
            "the environment variable LD_PRELOAD",
        ),
        (("--", "true"), ("--proposal", proposal(placeholders={"x": 1})), "the command has no placeholder {x}"),
        (
            ("--", "true"),
            ("--proposal", proposal(env={"NCCL_X": "a\0b"})),
            "cannot start 'true': embedded null byte",
        ),
        (
            ("--", "true"),
            ("--tuner", "localhost:19471"),
            "--tuner: expected a URL such as http://127.0.0.1:19471",
        ),
        (
            ("--", "true"),
            ("--agent", "ftp://a"),
            "--agent: expected an address such as http://node-1:19470, got 'ftp://a'",
        ),
        (("--", "/no/such/command"), (), "cannot start '/no/such/command': no such file"),
    ],
)
def test_what_cannot_be_started_is_said_in_one_line(
    tmp_path: Path, words: tuple[str, ...], flags: tuple[str, ...], said: str
) -> None:
    done = paceline(tmp_path, *words, flags=flags)
    assert done.returncode == 127
    (line,) = done.stderr.splitlines()
    assert line.startswith("paceline run: ") and said in line
    assert (outcome(tmp_path)["state"], outcome(tmp_path)["exit_code"]) == ("failed", 127)


def test_a_file_that_is_not_executable_is_said_to_be_one(tmp_path: Path) -> None:
    script = tmp_path / "train.sh"
    script.write_text("#!/bin/sh\n")
    said = paceline(tmp_path, "--", str(script)).stderr
    assert said == f"paceline run: cannot start {str(script)!r}: it is not executable: chmod +x it\n"


@pytest.mark.parametrize("agent", ["127.0.0.1:19470", "node-1", "https://node-1:1", ""])
def test_an_agent_is_named_as_explain_and_top_take_it(tmp_path: Path, agent: str) -> None:
    assert paceline(tmp_path, "--", "true", flags=("--agent", agent)).returncode == 0


def test_an_outcome_that_cannot_be_written_is_said_before_the_job_runs(tmp_path: Path) -> None:
    done = paceline(
        tmp_path, "--", "touch", str(tmp_path / "ran"), flags=("--outcome", "/no/such/directory/o.json")
    )
    assert done.returncode == 127
    assert "--outcome: cannot write to the directory '/no/such/directory'" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_an_outcome_lost_at_the_end_leaves_the_jobs_status(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    flags = ("--outcome", str(tmp_path / "gone" / "o.json"))
    script = f"import shutil; shutil.rmtree({str(tmp_path / 'gone')!r}); raise SystemExit(5)"
    done = paceline(tmp_path, "--", sys.executable, "-c", script, flags=flags)
    assert done.returncode == 5
    assert "cannot write how the run ended" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("flag", ["-I", "-E", "-S"])
def test_isolated_python_is_said_to_be_not_attached_once(tmp_path: Path, flag: str) -> None:
    done = paceline(tmp_path, "--", sys.executable, flag, "-c", "print('ran')")
    assert done.returncode == 0
    assert done.stdout == "ran\n"
    assert done.stderr.count("not attached") == 1


def test_a_command_without_a_trainer_is_said_to_be_not_attached_once(tmp_path: Path) -> None:
    done = paceline(tmp_path, "--", sys.executable, "-c", "print('ran')")
    assert done.stderr.count("not attached") == 1
    assert paceline(tmp_path, "--", "true", flags=("--quiet",)).stderr == ""


def test_a_ring_in_which_no_step_ended_is_said_to_be_one(tmp_path: Path) -> None:
    script = "from _paceline_attach import session; session.recorder()"
    done = paceline(tmp_path, "--", sys.executable, "-c", script)
    (line,) = done.stderr.splitlines()
    assert line.startswith("paceline run: attached, but no step ended: ") and "docs/watching.md" in line
    failed = paceline(tmp_path, "--", sys.executable, "-c", script + "; raise SystemExit(3)")
    assert "no step ended" not in failed.stderr  # it had no time to


def test_placeholders_reach_the_command(tmp_path: Path) -> None:
    done = paceline(
        tmp_path, "--", "echo", "--batch={micro}", flags=("--proposal", proposal(placeholders={"micro": 8}))
    )
    assert done.stdout == "--batch=8\n"
    assert outcome(tmp_path)["state"] == "finished"  # nothing in it needs us inside the job


def test_a_proposal_that_no_process_read_is_rejected(tmp_path: Path) -> None:
    paceline(tmp_path, "--", "true", flags=("--proposal", proposal(arguments={"seed": 8})))
    assert outcome(tmp_path)["state"] == "rejected"
    assert "no training process attached" in outcome(tmp_path)["detail"]


TRAINS = """
from _paceline_attach import layout, session
ring = session.recorder()
for number in range(3):
    ring.step([number + 1.0, *[0.5] * (len(layout.STEP_FIELDS) - 1)])
session.event("end", how="finished")
"""


def test_reports_that_a_tuner_never_took_are_in_the_outcome(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom paceline_agent.commands import run\nfrom paceline_agent.supervise import reporting\n"
        "import functools\n"
        "run.ReportingSettings = functools.partial(reporting.ReportingSettings, flush_seconds=0.0)\n"
        "from paceline_exporters.cli import main\nsys.exit(main())\n"
    )
    words = ["run", "--rings.directory", str(tmp_path / "rings"), "--outcome", str(tmp_path / "outcome.json")]
    words += ["--tuner", "http://127.0.0.1:9", "--", sys.executable, "-c", TRAINS]
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (unsent,) = outcome(tmp_path)["unsent"]
    assert unsent["rings"][0]["window"]["columns"]["step"] == [1.0, 2.0, 3.0]
    run_id = unsent["rings"][0]["run_id"]
    assert f"paceline run: {run_id}: 1 rank, 2 steps, median step 0.5 s" in done.stderr


def test_a_failure_names_the_run_that_explain_knows(tmp_path: Path) -> None:
    done = paceline(
        tmp_path, "--", "env", "PACELINE_RUN_ID=gpt", sys.executable, "-c", TRAINS + "raise SystemExit(3)"
    )
    assert "paceline run: gpt failed (crash): the command exited with status 3" in done.stderr


def test_a_status_survives_when_nobody_reads_what_we_say(tmp_path: Path) -> None:
    words = ["run", "--rings.directory", str(tmp_path), "--", sys.executable, "-c", "raise SystemExit(5)"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "paceline_exporters", *words], stderr=full, check=False)
    assert done.returncode == 5


def test_a_status_survives_whatever_fails_in_our_telling(tmp_path: Path) -> None:
    script = TRAINS + "import os\nos.truncate(ring.path, 100)\nos._exit(7)\n"
    done = paceline(tmp_path, "--", sys.executable, "-c", script)
    assert done.returncode == 7
    assert "Traceback" not in done.stderr
