from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
READY = "import signal, sys, time\n{before}\nprint('ready', flush=True)\ntime.sleep(60)\n"


@pytest.mark.parametrize("status", [0, 3, 77])
def test_an_exit_status_is_passed_through(paceline: Run, status: int) -> None:
    done = paceline(sys.executable, "-c", f"raise SystemExit({status})")
    assert (done.status, done.outcome["exit_code"]) == (status, status)
    assert done.outcome["state"] == ("finished" if status == 0 else "failed")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_signal_becomes_128_and_its_number(paceline: Run, number: signal.Signals) -> None:
    done = paceline(sys.executable, "-c", f"import os; os.kill(os.getpid(), {int(number)})")
    assert done.status == 128 + number
    assert done.outcome["state"] == "failed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_us_is_passed_on_and_the_run_is_interrupted(
    begin: Run, tmp_path: Path, number: signal.Signals
) -> None:
    script = READY.format(before="signal.signal(signal.SIGINT, signal.SIG_DFL)")
    process = begin(sys.executable, "-c", script)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    outcome = json.loads((tmp_path / "outcome.json").read_text())
    assert (outcome["state"], outcome["reason"]) == ("interrupted", "stopped")
    assert outcome["detail"] == f"stopped by {number.name}"
    assert f"paceline run: interrupted (stopped): stopped by {number.name}" in output


def test_a_signal_that_asks_for_no_end_is_passed_on_only(begin: Run, tmp_path: Path) -> None:
    process = begin(
        sys.executable, "-c", READY.format(before="signal.signal(signal.SIGUSR1, lambda *_: sys.exit(5))")
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGUSR1)
    process.communicate(timeout=60)
    assert process.returncode == 5
    assert json.loads((tmp_path / "outcome.json").read_text())["state"] == "failed"


def test_a_job_that_takes_its_time_to_end_is_waited_for(begin: Run, tmp_path: Path) -> None:
    handler = "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), print('saved', flush=True), sys.exit(0)))"
    process = begin(sys.executable, "-c", READY.format(before=handler))
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "saved" in output
    assert json.loads((tmp_path / "outcome.json").read_text())["state"] == "interrupted"


STUBBORN = "import signal, subprocess, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
TREE = STUBBORN + (
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(120)'], start_new_session=True)\n"
    "print(child.pid, flush=True)\ntime.sleep(120)\n"
)
SHORT_GRACE = (
    "import sys\nfrom paceline_agent.commands import run\nfrom paceline_agent.supervise import process\n"
    "run.GRACE_SECONDS = process.LEASH_SECONDS = 0.5\nfrom paceline_exporters.cli import main\nsys.exit(main())\n"
)


def gone(pid: int) -> bool:
    """Whether the process ended, reaped or not."""
    for _ in range(200):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def impatient(tmp_path: Path, flags: list[str]) -> subprocess.Popen[str]:
    """`paceline run` with graces of half a second, over a tree that ignores SIGTERM."""
    command = [sys.executable, "-c", SHORT_GRACE, "run", "--rings.directory", str(tmp_path / "rings")]
    command += [*flags, "--outcome", str(tmp_path / "outcome.json"), "--", sys.executable, "-c", TREE]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_trial_that_does_not_end_is_killed_with_all_its_tree_after_the_grace(tmp_path: Path) -> None:
    proposal = {"study": "s", "trial": 1, "run_id": "r", "kind": "trial"}
    harness = {"output_dir": str(tmp_path), "max_steps": 1, "seed": 1}
    process = impatient(tmp_path, ["--proposal", json.dumps({**proposal, "harness": harness})])
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGKILL
    assert gone(child)
    outcome = json.loads((tmp_path / "outcome.json").read_text())
    assert (outcome["state"], outcome["detail"]) == ("interrupted", "stopped by SIGTERM")


def test_a_leash_that_ends_takes_the_whole_tree_with_it(tmp_path: Path) -> None:
    process = impatient(tmp_path, ["--leash"])
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.communicate(timeout=60)  # closes standard input
    assert process.returncode == 128 + signal.SIGKILL
    assert gone(child)
    assert json.loads((tmp_path / "outcome.json").read_text())["detail"] == "stopped by leash"


def test_a_leash_that_ends_leaves_no_orphan_of_a_command_that_obeys(begin: Run, tmp_path: Path) -> None:
    obeys = TREE.replace("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "")
    process = begin(sys.executable, "-c", obeys, flags=("--leash",))
    child = int(process.stdout.readline())
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert gone(child)


def test_without_a_leash_standard_input_is_the_commands_own(begin: Run) -> None:
    process = begin(sys.executable, "-c", "import sys; print(sys.stdin.read())")
    assert process.communicate("hello", timeout=60)[0].startswith("hello")


def test_a_closed_standard_input_is_no_matter(tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "paceline_exporters",
        "run",
        "--rings.directory",
        str(tmp_path),
        "--",
        "sleep",
        "60",
    ]
    process = subprocess.Popen(["sh", "-c", 'exec "$0" "$@" <&-', *words], stderr=subprocess.PIPE, text=True)
    for _ in range(400):
        if Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().strip():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + signal.SIGINT
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_leash_that_ends_takes_torchruns_workers_with_it(begin: Run, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    worker = tmp_path / "worker.py"
    (tmp_path / "pids").mkdir()
    worker.write_text(
        "import os, pathlib, sys, time\npathlib.Path(sys.argv[1], str(os.getpid())).touch()\ntime.sleep(120)\n"
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = begin(*torchrun, str(worker), str(tmp_path / "pids"), flags=("--leash",))
    while len(pids := [int(path.name) for path in (tmp_path / "pids").iterdir()]) < 2:
        assert process.poll() is None, "torchrun ended"
        time.sleep(0.1)
    process.communicate(timeout=100)
    assert process.returncode != 0
    assert all(map(gone, pids))
    assert json.loads((tmp_path / "outcome.json").read_text())["detail"] == "stopped by leash"
