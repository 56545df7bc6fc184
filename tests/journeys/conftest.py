"""Real services, real commands, and the demo's own Trainer script made small."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from paceline_service import Service

from paceline_tuner.client import TunerClient

PATIENCE = 240.0
"""Seconds that a test waits for what must come; no test measures time."""
TRAIN = Path(__file__).parents[2] / "tuner" / "paceline_tuner" / "demo" / "train.py"
SMALL = ("--use_cpu", "True", "--layers", "1", "--width", "64", "--length", "32", "--disable_tqdm", "True")


class Command:
    """A `paceline` command in the background, what it says in a file."""

    def __init__(self, said: Path, words: Sequence[str], environment: Mapping[str, str]) -> None:
        self._said = said
        with said.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "paceline_exporters", *words],
                cwd=said.parent,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """Standard output and error so far."""
        return self._said.read_text()

    def wait(self) -> int:
        """The exit status."""
        return self.process.wait(PATIENCE)


class World:
    """A directory of the test's own, its tuner, and whatever is started in it."""

    def __init__(self, root: Path) -> None:
        self.root, self.rings, self.study = root, root / "rings", root / "study"
        strange = ("PACELINE_", "PYTHONPATH", "RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_", "TORCHELASTIC_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
        self.environment = {**kept, "PACELINE_RING_DIR": str(self.rings), "OMP_NUM_THREADS": "1"}
        self._commands: list[Command] = []
        self._services: list[Service] = []
        self.tuner = self.service("serve", "--database", root / "tuner.sqlite")

    def service(self, *words: str | Path) -> Service:
        """Start `paceline serve` or `paceline agent`."""
        self._services.append(Service(self.root, words, self.environment))
        return self._services[-1].start()

    def paceline(self, *words: str | Path) -> Command:
        """Start any other `paceline` command."""
        said = self.root / f"said-{len(self._commands)}.txt"
        self._commands.append(Command(said, [str(word) for word in words], self.environment))
        return self._commands[-1]

    def job(self, *words: str, ranks: int = 1, script: Path = TRAIN) -> list[str]:
        """The user's own command: the demo's script, small, on one process or under torchrun."""
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
        start = [sys.executable] if ranks == 1 else launcher
        output = ["--output_dir", str(self.root / "users")]
        return [*start, str(script), *output, *SMALL, "--max_steps", "20", *words]

    def write(self, command: Sequence[str], **fields: Any) -> Path:
        """A study file of two trials, without a proof, unless told otherwise."""
        document = {
            "study": "journey",
            "command": shlex.join(command),
            "knobs": {"learning_rate": {"low": 1e-4, "high": 1e-3}},
            "objective": {"throughput": "tokens", "warmup_steps": 2, "measure_steps": 4},
            "budget": {"trials": 2, "run": "100s"},
            "proof": {"max_pairs": 0},
        }
        path = self.root / "study.yaml"
        path.write_text(yaml.safe_dump(document | fields))
        return path

    def tune(self, study: Path, agent: str = "http://127.0.0.1:9") -> Command:
        """Start `paceline tune`."""
        return self.paceline(
            "tune", study, "--tuner", self.tuner.url, "--directory", self.study, "--agent", agent
        )

    def view(self) -> Any:
        """What the tuner says of the study."""
        return TunerClient(self.tuner.url).study("journey")

    def processes(self) -> dict[int, list[str]]:
        """Processes whose command line names this directory, by id."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                try:
                    words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                except OSError:
                    continue
                if any(str(self.root) in word for word in words):
                    found[int(entry.name)] = words
        return found

    def trainers(self) -> list[int]:
        """The training processes."""
        return sorted(
            pid
            for pid, words in self.processes().items()
            if len(words) > 2 and (words[1].endswith(".py") or words[2].endswith(".py"))
        )

    def close(self) -> None:
        """End all of it."""
        for command in self._commands:
            command.process.kill()
            command.process.wait()
        for service in self._services:
            service.kill()
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """See `World`."""
    one = World(tmp_path)
    yield one
    one.close()


def until(condition: Callable[[], Any], what: str) -> Any:
    """What `condition` gives, once that is something."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.1)
    return found


@pytest.fixture(name="until")
def until_fixture() -> Callable[[Callable[[], Any], str], Any]:
    """See `until`."""
    return until
