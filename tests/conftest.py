"""What tests of several parts share: real rings, written by real processes, and a driver."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from nvml_stub import Driver, NoCompiler, build

# How long an example takes says how busy the machine is.
settings.register_profile("paceline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("paceline")
# A shell makes what it starts in the background ignore Ctrl-C, and so would all that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

TRAINER = """
import json, math, sys
from paceline_exporters.attach import layout
from paceline_exporters.attach.recorder import Recorder

directory, header = sys.argv[1], json.loads(sys.argv[2])
recorder = Recorder(directory, header)
print(recorder.uuid, flush=True)
for line in sys.stdin:
    call, arguments = json.loads(line)
    if call == "steps":
        for values in arguments:
            recorder.step([math.nan if values.get(n) is None else values[n] for n in layout.STEP_FIELDS])
    elif call == "event":
        recorder.event(**arguments)
    else:
        recorder.update_header(arguments)
    print("done", flush=True)
"""


class Trainer:
    """A process that writes a ring with the real recorder, as told."""

    def __init__(self, directory: Path, header: dict[str, Any]) -> None:
        command = [sys.executable, "-c", TRAINER, str(directory), json.dumps(header)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ring = self._answer()

    def steps(self, *values: dict[str, float]) -> None:
        """Append step records; what is not named is unknown."""
        self._tell("steps", list(values))

    def event(self, kind: str, step: float = math.nan, **detail: Any) -> None:
        """Append an event."""
        self._tell("event", {"kind": kind, "step": step, "detail": detail})

    def header(self, **changes: Any) -> None:
        """Merge into the header."""
        self._tell("header", changes)

    def kill(self) -> None:
        """End it with SIGKILL, as a node would."""
        self._process.kill()
        self._process.communicate()

    def _tell(self, call: str, arguments: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([call, arguments]) + "\n")
        self._process.stdin.flush()
        assert self._answer() == "done"

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "the trainer died"
        return line


StartTrainer = Callable[..., Trainer]


@pytest.fixture
def rings(tmp_path: Path) -> Path:
    """A ring directory of the test's own."""
    return tmp_path / "rings"


@pytest.fixture
def trainer(rings: Path) -> Iterator[StartTrainer]:
    """Starts trainers, as `trainer(rank=1, run_id="a")`; they end with the test."""
    started: list[Trainer] = []

    def start(directory: Path = rings, **header: Any) -> Trainer:
        identity = {"run_id": "run-1", "rank": 0, "world_size": 2, "attempt": 0, "node": "node-a", "started": 1.0}
        started.append(Trainer(directory, {**identity, **header}))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the stand-in for libnvidia-ml.so.1 is built."""
    directory = tmp_path_factory.mktemp("nvml")
    try:
        build(directory)
    except NoCompiler as error:
        pytest.skip(str(error))
    return directory


@pytest.fixture
def driver(tmp_path: Path, nvml_library: Path) -> Driver:
    """An NVIDIA driver of the test's own with eight healthy GPUs."""
    return Driver(tmp_path, builds=nvml_library)
