"""`paceline run` as a process of its own, and a small HTTP server that plays the tuner or the agent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

TRAINS = """
import sys, time
from _paceline_attach import layout, session
ring = session.recorder()
session.event("first_step", 1.0)
for number in range(int(sys.argv[1])):
    ring.step([number + 1.0, *[0.5] * (len(layout.STEP_FIELDS) - 1)])
session.event("end", how="finished")
if len(sys.argv) > 2:
    print(ring.uuid, flush=True)
    sys.stdin.read() if sys.argv[2] == "-" else time.sleep(float(sys.argv[2]))
"""
"""Stands for a training script: writes that many steps, then waits."""


@dataclass
class Paceline:
    """How `paceline run` ended."""

    status: int
    said: list[str]
    """Our lines."""
    output: str
    outcome: dict[str, Any]


def environment() -> dict[str, str]:
    strange = ("PACELINE_", "PYTHONPATH", "RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_", "TORCHELASTIC_")
    return {name: value for name, value in os.environ.items() if not name.startswith(strange)}


def command(directory: Path, *words: str, flags: tuple[str, ...] = ()) -> list[str]:
    """The command line of `paceline run` with rings and outcome in `directory`."""
    own = ["--rings.directory", str(directory / "rings"), "--outcome", str(directory / "outcome.json")]
    return [sys.executable, "-m", "paceline_exporters", "run", *own, *flags, "--", *words]


@pytest.fixture
def paceline(tmp_path: Path) -> Callable[..., Paceline]:
    """Runs a command under `paceline run` to its end."""

    def run(*words: str, flags: tuple[str, ...] = (), extra: dict[str, str] | None = None) -> Paceline:
        done = subprocess.run(
            command(tmp_path, *words, flags=flags),
            env={**environment(), **(extra or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        outcome = tmp_path / "outcome.json"
        return Paceline(
            done.returncode,
            [line for line in done.stderr.splitlines() if line.startswith("paceline run: ")],
            done.stdout + done.stderr,
            json.loads(outcome.read_text()) if outcome.exists() else {},
        )

    return run


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a command under `paceline run` and leaves it running."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, flags: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                command(tmp_path, *words, flags=flags),
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def trains(tmp_path: Path) -> str:
    """Path of a script that writes a ring as a trainer does."""
    path = tmp_path / "trains.py"
    path.write_text(TRAINS)
    return str(path)


@dataclass
class Server:
    """Plays the tuner (acknowledges windows) or the agent (lists rings)."""

    url: str
    received: list[dict[str, Any]] = field(default_factory=list)
    listed: dict[str, Any] = field(default_factory=dict)
    away: bool = False
    known: bool = True
    news: threading.Condition = field(default_factory=threading.Condition)

    def wait(self, ready: Callable[[], bool]) -> None:
        """Until `ready`, which is asked whenever something arrives."""
        with self.news:
            assert self.news.wait_for(ready, timeout=60)

    def steps(self) -> list[float]:
        """Step numbers received, in order of arrival."""
        windows = [ring["window"] for report in self.received for ring in report["rings"] if ring["window"]]
        return [step for window in windows for step in window["columns"]["step"]]

    def acknowledge(self, report: dict[str, Any]) -> dict[str, Any]:
        marks = {}
        for ring in report["rings"]:
            window, events = ring["window"], ring["events"]
            marks[ring["ring"]] = {
                "next_record": window["last"] + 1 if window else self._last(ring["ring"]),
                "next_event": events[-1]["number"] + 1 if events else 2,
                "generation": ring["generation"],
                "known": self.known,
            }
        return {"rings": marks}

    def _last(self, uuid: str) -> int:
        rings = [ring for report in self.received for ring in report["rings"] if ring["ring"] == uuid]
        return max([ring["window"]["last"] + 1 for ring in rings if ring["window"]], default=0)


@pytest.fixture
def serve() -> Iterator[Callable[[], Server]]:
    """Starts such servers, on ports of their own."""
    running: list[ThreadingHTTPServer] = []

    def start() -> Server:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server.news:
                    if not server.away:
                        server.received.append(report)
                    self._answer(503 if server.away else 200, server.acknowledge(report))
                    server.news.notify_all()

            def do_GET(self) -> None:
                with server.news:
                    self._answer(200, server.listed)

            def _answer(self, status: int, body: Any) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                """Silent."""

        http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server = Server(f"http://127.0.0.1:{http.server_address[1]}")
        threading.Thread(target=http.serve_forever, daemon=True).start()
        running.append(http)
        return server

    yield start
    for http in running:
        http.shutdown()
        http.server_close()
