"""A real tuner process on loopback, and a cluster that plays its part: it posts windows with made-up steps."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SERVE = (
    "import argparse, sys\n"
    "from paceline_tuner.commands import serve\n"
    "parser = argparse.ArgumentParser(prog='paceline serve')\n"
    "serve.configure(parser)\n"
    "sys.exit(serve.run(parser.parse_args()))\n"
)
PATIENCE = 120.0
"""Seconds that a test waits for what must come; no test measures time."""


class Client:
    """HTTP with the standard library, so that no client of ours stands between test and service."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and decoded body."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                return response.status, _decode(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _decode(error.read())

    def get(self, path: str) -> Any:
        """The body of a GET that must succeed."""
        status, body = self.call("GET", path)
        assert status == 200, body
        return body

    def post(self, path: str, body: Any = None) -> Any:
        """The body of a POST that must succeed."""
        status, answer = self.call("POST", path, {} if body is None else body)
        assert status in (200, 201), answer
        return answer


def _decode(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode()


class Tuner(Client):
    """A `paceline serve` process."""

    def __init__(self, database: Path, *options: str, address: str = "127.0.0.1:0") -> None:
        super().__init__("")
        self.database, self.options, self.address = database, options, address
        self.process: subprocess.Popen[str] | None = None

    def launch(self) -> subprocess.Popen[str]:
        """The bare process."""
        arguments = ["--web.listen-address", self.address, "--database", str(self.database), *self.options]
        path = os.pathsep.join(entry for entry in sys.path if entry)
        return subprocess.Popen(
            [sys.executable, "-c", SERVE, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )

    def start(self) -> Tuner:
        """Launch it and wait until it says where it listens."""
        self.process = self.launch()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("paceline serve: listening on http://"), line + self.process.communicate()[1]
        self.url = line.split()[-1]
        return self

    def end(self, number: int) -> tuple[int, str]:
        """Send a signal; returns exit status and standard error."""
        assert self.process is not None
        process, self.process = self.process, None
        process.send_signal(number)
        errors = process.communicate(timeout=PATIENCE)[1]
        return process.returncode, errors

    def restart(self) -> Tuner:
        """SIGKILL, and start again on the same database."""
        self.end(signal.SIGKILL)
        return self.start()


class Cluster:
    """Submitter, launcher and ranks in one: it never looks at the tuner's code, only at its answers."""

    def __init__(self, tuner: Tuner, study: str, client_id: str = "cluster") -> None:
        self.tuner, self.study, self.client_id = tuner, study, client_id
        self.asked = 0

    def ask(self, request_id: str | None = None, **body: Any) -> Any:
        """One ask."""
        self.asked += 1
        request = {"client_id": self.client_id, "request_id": request_id or f"ask-{self.asked}", **body}
        return self.tuner.post(f"/v1/studies/{self.study}/proposals", request)

    def next(self, patience: float = PATIENCE) -> Any:
        """The next proposal, or None when the study is over."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            answer = self.ask()
            if "proposal" in answer:
                return answer["proposal"]
            if "done" in answer:
                return None
            time.sleep(0.05)
        raise AssertionError(f"no proposal: {answer}")

    def windows(self, *rings: dict[str, Any]) -> Any:
        """Post a report; returns the marks by ring."""
        report = {"schema": 1, "reporter": "run", "node": "node-a", "rings": list(rings)}
        return self.tuner.post("/v1/windows", report)["rings"]

    def heartbeat(self, proposal: dict[str, Any]) -> Any:
        """The decision."""
        return self.tuner.post(f"/v1/runs/{proposal['run_id']}/heartbeat")

    def end(self, proposal: dict[str, Any], state: str = "finished", reason: str = "done", **fields: Any) -> Any:
        """The submitter's word."""
        body = {"request_id": uuid.uuid4().hex, "state": state, "reason": reason, **fields}
        return self.tuner.post(f"/v1/runs/{proposal['run_id']}/end", body)

    def run(self, proposal: dict[str, Any], seconds: float = 0.1, **fields: Any) -> Any:
        """A whole run: its windows on two ranks, then its end."""
        self.windows(*rings(proposal, seconds=seconds, **fields))
        return self.end(proposal)

    def view(self) -> Any:
        """The study."""
        return self.tuner.get(f"/v1/studies/{self.study}")

    def until(self, condition: Callable[[Any], bool]) -> Any:
        """The study, once it is as wished."""
        deadline = time.monotonic() + PATIENCE
        while not condition(view := self.view()):
            assert time.monotonic() < deadline, view
            time.sleep(0.05)
        return view

    def log(self) -> list[Any]:
        """The study's log."""
        return list(self.tuner.get(f"/v1/studies/{self.study}/events")["events"])


def rings(
    proposal: dict[str, Any],
    seconds: float = 0.1,
    world_size: int = 2,
    ranks: int | None = None,
    attempt: int = 0,
    first: int = 0,
    steps: int | None = None,
    ended: bool = True,
    kinds: tuple[str, ...] = (),
) -> list[dict[str, Any]]:
    """A ring report for each rank: steps of `seconds`, 8 samples per rank and step, from record `first` on."""
    last = (proposal["harness"]["max_steps"] if steps is None else first + steps) - 1
    numbers = list(range(first, last + 1))
    kinds = (*kinds, "end") if ended else kinds
    return [
        {
            "ring": uuid.uuid5(uuid.NAMESPACE_OID, f"{proposal['run_id']}/{attempt}/{rank}").hex,
            "run_id": proposal["run_id"],
            "rank": rank,
            "world_size": world_size,
            "attempt": attempt,
            "node": "node-a",
            "alive": not ended,
            "generation": 1,
            "header": {"effective": {"arguments": {"learning_rate": 1e-3, "per_device_train_batch_size": 8,
                                                   "gradient_accumulation_steps": 2}}},
            "events": [
                {"number": number, "kind": kind, "wall": 1.0, "step": float(last + 1), "detail": {}}
                for number, kind in enumerate(kinds)
            ],
            "window": None if not numbers else {
                "first": first,
                "last": last,
                "columns": {
                    "step": [float(number + 1) for number in numbers],
                    "samples": [8.0] * len(numbers),
                    "step_seconds": [seconds * (1 + 0.1 * rank) for _ in numbers],
                    "forward_seconds": [seconds / 3] * len(numbers),
                    "loss": [5.0 - number / 100 for number in numbers],
                },
            },
        }
        for rank in range(world_size if ranks is None else ranks)
    ]  # fmt: skip


def make_spec(name: str = "demo", **fields: Any) -> dict[str, Any]:
    """A study as JSON."""
    spec: dict[str, Any] = {
        "name": name,
        "command": ["torchrun", "train.py"],
        "knobs": [
            {
                "name": "learning_rate",
                "target": "arguments",
                "key": "learning_rate",
                "kind": "float",
                "effect": "convergence",
                "low": 1e-5,
                "high": 1e-2,
                "log": True,
            }
        ],
        "objective": {"kind": "throughput", "direction": "maximize", "warmup_steps": 2, "measure_steps": 10},
        "budget": {"trials": 4},
        "proof": {"max_pairs": 0},
    }
    return spec | fields


Start = Callable[..., Tuner]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start tuners that the test's end stops; by default all on one database."""
    started: list[Tuner] = []

    def launch(*options: str, database: Path | None = None, **fields: Any) -> Tuner:
        tuner = Tuner(database or tmp_path / "tuner.sqlite", *options, **fields)
        started.append(tuner)
        return tuner.start()

    yield launch
    for tuner in started:
        if tuner.process is not None:
            tuner.end(signal.SIGKILL)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tuner]:
    """One tuner for the studies of a test file, which do not know of each other."""
    tuner = Tuner(tmp_path_factory.mktemp("shared") / "tuner.sqlite").start()
    yield tuner
    tuner.end(signal.SIGKILL)


@pytest.fixture
def study(shared: Tuner) -> Callable[..., Cluster]:
    """Make a study, by default in the shared tuner, and the cluster that works on it."""

    def create(tuner: Tuner | None = None, **fields: Any) -> Cluster:
        cluster = Cluster(tuner or shared, f"study-{uuid.uuid4().hex[:8]}")
        cluster.tuner.post("/v1/studies", {"schema": 1, "spec": make_spec(cluster.study, **fields)})
        return cluster

    return create


@pytest.fixture
def ring_reports() -> Callable[..., list[dict[str, Any]]]:
    """See `rings`."""
    return rings


@pytest.fixture
def spec_json() -> Callable[..., dict[str, Any]]:
    """See `make_spec`."""
    return make_spec


@pytest.fixture
def cluster_of() -> type[Cluster]:
    """See `Cluster`."""
    return Cluster


@pytest.fixture
def bare_tuner() -> type[Tuner]:
    """See `Tuner`."""
    return Tuner
