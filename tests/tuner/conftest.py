"""Real services and commands, and a job of a few milliseconds that plays the training cluster."""

from __future__ import annotations

import contextlib
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
import yaml
from paceline_service import Service

from paceline_tuner.study.file import load_study
from paceline_tuner.study.spec import StudySpec

PATIENCE = 120.0
"""Seconds that a test waits for what must come; no test measures time."""

JOB = """
import json, os, signal, sys, time
from pathlib import Path
from _paceline_attach import harness, layout, proposal, session

here, ms = Path(sys.argv[1]), float(sys.argv[2])
number = 0
while True:  # the n-th launch does what the plan's n-th word says, the rest what its last word says
    try:
        (here / "launches" / str(number)).mkdir(parents=True)
        break
    except FileExistsError:
        number += 1
plan = (here / "plan.txt").read_text().split()
act = plan[min(number, len(plan) - 1)]
(here / "launches" / str(number) / "proposal.json").write_text(json.dumps(proposal.current()))
if act == "crash":
    sys.exit("the job's own last words")
ring = session.recorder()
batch = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 64 if act == "cheat" else 1}
session.describe(effective={"arguments": batch, "ddp": {}})
last = proposal.harness().get("max_steps", 12)
pause = 0.01
if act == "slow":
    ms, last, pause = 1000.0, last - 1, 0.0
for step in range(1, last + 1):
    known = {"step": step, "wall": time.time(), "samples": 8.0, "tokens": 8.0, "step_seconds": ms / 1000}
    if act == "nan" and step == 3:
        session.event("nan", 3.0)
    ring.step([float(known.get(name, "nan")) for name in layout.STEP_FIELDS])
    if act in ("hang", "endless") and step == 3:
        (here / "launches" / str(number) / "hangs").touch()
        time.sleep(1000)
    time.sleep(pause)
if act == "slow":
    time.sleep(1000)
session.event("evaluation", float(last), metrics={"eval_loss": ms})
session.event("end", how="finished")
"""


class Job:
    """A job that plays, its study file, and what its launches left."""

    def __init__(self, root: Path, name: str) -> None:
        self.root, self.name = root, name
        self.file = root / "study.yaml"
        (root / "job.py").write_text(JOB)

    def study(self, *plan: str, **fields: Any) -> StudySpec:
        """Write the study; each launch in turn does what its word of `plan` says, by default it trains well."""
        (self.root / "plan.txt").write_text(" ".join(plan or ("ok",)))
        command = [sys.executable, str(self.root / "job.py"), str(self.root), "{ms}"]
        document = {
            "study": self.name,
            "command": command,
            "knobs": {"placeholder.ms": {"choices": [10, 20, 40, 80], "default": 50}},
            "objective": {"throughput": "samples", "warmup_steps": 2, "measure_steps": 6},
            "budget": {"trials": 3},
            "proof": {"max_pairs": 0},
            "sampler": "random",
        }
        self.file.write_text(yaml.safe_dump(document | fields))
        return load_study(self.file)

    def launches(self) -> list[dict[str, Any]]:
        """The proposals, in the order of launches."""
        entries = sorted((self.root / "launches").glob("*/proposal.json"), key=lambda path: int(path.parent.name))
        return [json.loads(path.read_text()) for path in entries]

    def hangs(self, number: int) -> bool:
        """Whether a launch has come to where it hangs."""
        return (self.root / "launches" / str(number) / "hangs").exists()

    def processes(self) -> list[int]:
        """Those that still run with this job's directory in their command line."""
        return processes(str(self.root))


def processes(word: str) -> list[int]:
    """Living processes that have `word` in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                if word.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


class Command:
    """A `paceline` command in the background, what it says in files."""

    def __init__(self, directory: Path, words: list[str], environment: dict[str, str]) -> None:
        self._said, self._told = directory / "stderr.txt", directory / "stdout.txt"
        with self._said.open("w") as errors, self._told.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "paceline_exporters", *words],
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )

    @property
    def errors(self) -> str:
        """Standard error so far."""
        return self._said.read_text()

    @property
    def output(self) -> str:
        """Standard output so far."""
        return self._told.read_text()

    def wait(self) -> int:
        """The exit status."""
        return self.process.wait(PATIENCE)

    def end(self, number: int) -> int:
        """Send a signal; the exit status."""
        self.process.send_signal(number)
        return self.wait()


def until(condition: Callable[[], Any], what: str = "it") -> Any:
    """What `condition` gives, once that is something."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} never happened"
        time.sleep(0.05)
    return found


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., Any]:
    """See `until`."""
    return until


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    """A job in the test's own directory; whatever of it still runs ends with the test."""
    root = tmp_path / "job"
    root.mkdir()
    one = Job(root, f"study-{abs(hash(str(tmp_path))) % 10**8}")
    yield one
    for pid in one.processes():
        with contextlib.suppress(ProcessLookupError):  # it ends just now
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """The environment of commands: rings in the test's own directory, nothing of an outer run."""
    strange = ("PACELINE_", "PYTHONPATH", "RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_", "TORCHELASTIC_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    return {**kept, "PACELINE_RING_DIR": str(tmp_path / "rings")}


@pytest.fixture
def begin(tmp_path: Path, variables: dict[str, str]) -> Iterator[Callable[..., Command]]:
    """Starts `paceline` commands, as `begin("tune", "study.yaml")`; they end with the test."""
    started: list[Command] = []

    def start(*words: str | Path, **extra: str) -> Command:
        directory = tmp_path / f"command-{len(started)}"
        directory.mkdir()
        started.append(Command(directory, [str(word) for word in words], {**variables, **extra}))
        return started[-1]

    yield start
    for command in started:
        command.process.kill()
        command.process.wait()
    for pid in processes(str(tmp_path)):  # what a command that was killed left behind
        with contextlib.suppress(ProcessLookupError):  # it ends just now
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def tuner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One tuner for studies that do not know of each other."""
    directory = tmp_path_factory.mktemp("tuner")
    service = Service(directory, ("serve", "--database", directory / "tuner.sqlite")).start()
    yield service
    service.kill()


@pytest.fixture
def own_tuner(tmp_path: Path) -> Iterator[Service]:
    """A tuner that the test may kill."""
    service = Service(tmp_path, ("serve", "--database", tmp_path / "served.sqlite")).start()
    yield service
    service.kill()


@pytest.fixture
def agent(tmp_path: Path, tuner: Service, variables: dict[str, str]) -> Iterator[Service]:
    """An agent of the shared tuner's; without one a run's steps are reported after ten seconds only."""
    flags = ["--tuner.url", tuner.url, "--rings.directory", variables["PACELINE_RING_DIR"]]
    service = Service(tmp_path, ("agent", *flags, "--spool.directory", tmp_path / "spool")).start()
    yield service
    service.kill()
