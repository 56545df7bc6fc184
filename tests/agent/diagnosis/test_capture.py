"""Standstills of real jobs, captured."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import paceline_exporters.attach
from paceline_agent.diagnosis import capture, standing
from paceline_agent.diagnosis.capture import Capture, Captured, summarize
from paceline_agent.diagnosis.standing import Standing, ask
from paceline_exporters.attach import control
from paceline_exporters.diagnosis.findings import Finding
from paceline_exporters.rings import RingDirectory

SITE = Path(paceline_exporters.attach.__file__).parent / "path"
PROC = Path("/proc")
HANG = Finding("hang", "unknown", since_step=3, found_step=3)
SIZE = 2**20
PATIENCE_SECONDS = 120.0
HANGS = """
import os, sys, time
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

def asleep_for_ever():
    while True:
        time.sleep(600)

dist.init_process_group("gloo")
model = DistributedDataParallel(torch.nn.Linear(8, 8))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step in range(5):
    loss = model(torch.ones(2, 8)).sum()
    if step == 3 and dist.get_rank() == 1:
        asleep_for_ever()
    loss.backward()
    optimizer.step()
"""
HOLDS_GIL = """
import ctypes, threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
from _paceline_attach import session
session.event("checkpoint")
def stuck():
    ctypes.PyDLL(None).sleep(600)
stuck()
"""

Begin = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Starts a Python program that makes rings; all it started is gone at the end."""
    begun = []

    def run(script: str, *launcher: str) -> subprocess.Popen[bytes]:
        (tmp_path / "job.py").write_text(script)
        variables = {
            "PYTHONPATH": str(SITE),
            "PACELINE_RING_DIR": str(tmp_path / "rings"),
            "OMP_NUM_THREADS": "1",
        }
        with (tmp_path / "said.txt").open("w") as said:
            command = [sys.executable, *launcher, str(tmp_path / "job.py")]
            begun.append(
                subprocess.Popen(
                    command,
                    env={**os.environ, **variables},
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )
        return begun[-1]

    yield run
    for path in (tmp_path / "rings").glob("*.ring"):  # torchrun's workers are sessions of their own
        pid = standing._holder(path)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):  # it ends just now
                os.kill(pid, signal.SIGKILL)
    for process in begun:
        process.kill()
        process.wait()


def rings_at(directory: Path, steps: int, ranks: int) -> dict[int, Path]:
    """By rank, once all have recorded so many steps."""
    rings = RingDirectory(directory)
    try:
        for _ in range(1200):
            found = [reader for reader in rings.scan().rings.values() if reader.cursors()[0] >= steps]
            headers = {reader.path: reader.header() for reader in found}
            if len(found) == ranks and all(headers.values()):
                return {header.data["rank"]: path for path, header in headers.items() if header is not None}
            time.sleep(0.1)
    finally:
        rings.close()
    raise AssertionError("the job did not come so far")


def captured_once(kept: Path, rings: dict[int, Path], holds: Callable[[Captured], object]) -> Captured:
    """A capture that is as it should be: the ranks may still be on their way there."""
    taking = Capture(kept)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        taking("a/run", HANG, rings)
        taking.wait()
        latest = taking.listing("a/run")[0]
        if holds(latest):
            return latest
        assert time.monotonic() < deadline, latest.summary
        time.sleep(0.1)


def traces(told: Captured) -> list[list[Any]]:
    """Collectives that rank 0 and rank 1 began."""
    directory = Path(told.files[0]).parent
    return [json.loads((directory / f"rank-{rank}.json").read_text())["entries"] for rank in (0, 1)]


@pytest.mark.slow
def test_the_rank_that_sleeps_is_told_from_the_one_that_waits_for_it(begin: Begin, tmp_path: Path) -> None:
    begin(HANGS, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    rings = rings_at(tmp_path / "rings", steps=3, ranks=2)
    places = ("ank 1 in asleep_for_ever (job.py:9)", "ank 0 in _engine_run_backward (autograd/graph.py:")

    def there(told: Captured) -> bool:
        if len(told.files) != 4 or not all(place in told.summary for place in places):
            return False
        # The one that waits has begun an all-reduce that the other has not.
        waiting, asleep = traces(told)
        return len(waiting) == len(asleep) + 1

    told = captured_once(tmp_path / "hangs", rings, there)
    directory = Path(told.files[0]).parent
    assert [Path(path).name for path in told.files] == ["rank-0.json", "rank-0.txt", "rank-1.json", "rank-1.txt"]
    assert "loss.backward" not in (directory / "rank-1.txt").read_text()
    assert traces(told)[0][-1]["profiling_name"] == "gloo:all_reduce"

    pid = standing._holder(rings[1])
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    stopped = ask(rings[1], PROC, 5.0, SIZE)
    os.kill(pid, signal.SIGCONT)
    assert stopped.how == "kernel"
    assert "State:\tT (stopped)" in stopped.stacks

    for path in control.beside(rings[0]):
        path.unlink()
    bare = ask(rings[0], PROC, 5.0, SIZE)
    assert bare.how == "kernel"
    assert bare.stacks.count("\nThread ") > 1
    assert "State:\tS (sleeping)" in bare.stacks


@pytest.mark.slow
def test_a_rank_that_holds_the_gil(begin: Begin, tmp_path: Path) -> None:
    begin(HOLDS_GIL)
    rings = rings_at(tmp_path / "rings", steps=0, ranks=1)
    there = "Rank 0 in stuck (job.py:7) and holds the interpreter's lock."
    told = captured_once(tmp_path / "hangs", rings, lambda told: told.summary == there)
    (path,) = told.files
    assert "The kernel on the" in Path(path).read_text()


def test_a_ring_of_a_process_that_ended(tmp_path: Path, rings: Path, trainer: Any) -> None:
    trainer(rank=0).kill()
    (path,) = rings.glob("*.ring")
    taking = Capture(tmp_path / "hangs")
    taking("run-1", HANG, {0: path})
    taking.wait()
    (told,) = taking.listing("run-1")
    assert told.summary == "Rank 0 could not be asked."
    assert taking.listing("run-2") == []


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    """A file in a ring's place, beside which a test may put anything."""
    path = tmp_path / "a.ring"
    path.write_bytes(b"")
    return path


def test_a_link_to_another_socket_is_not_followed(ring: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "other"))
        other.listen()
        ring.with_suffix(control.ASK).symlink_to(tmp_path / "other")
        assert ask(ring, PROC, 1.0, SIZE).how == "nothing"
        other.settimeout(0.0)
        with pytest.raises(BlockingIOError):
            other.accept()


def test_a_socket_that_says_nothing_costs_its_deadline_only(ring: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(ring.with_suffix(control.ASK)))
        silent.listen()
        assert ask(ring, PROC, 0.1, SIZE).how == "nothing"


def test_the_oldest_captures_go(tmp_path: Path, ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "MOST_KEPT", 3)
    taking = Capture(tmp_path / "hangs")
    for step in (12, 3, 104, 5):
        taking("../run", Finding("hang", "unknown", step, step), {0: ring})
        taking.wait()
    assert [one.step for one in taking.listing("../run")] == [5, 104, 3]
    assert len(list((tmp_path / "hangs").iterdir())) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ring", "hangs"]


def test_what_is_no_capture_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    for text in ("{", "[]", '{"run_id": "run", "summary": 3}'):
        (tmp_path / "odd" / "capture.json").write_text(text)
        assert Capture(tmp_path).listing("run") == []
    assert Capture(tmp_path / "missing").listing("run") == []


def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path, ring: Path, caplog: Any) -> None:
    (tmp_path / "file").write_text("")
    taking = Capture(tmp_path / "file" / "hangs")
    taking("run", HANG, {0: ring})
    taking.wait()
    assert "were not kept in" in caplog.text


def tell(listener: socket.socket, answers: Sequence[bytes]) -> None:
    for told in answers:
        connection, _ = listener.accept()
        with connection:
            connection.recv(64)
            connection.sendall(told)


def test_a_flight_recorder_is_cut_to_its_latest_entries(ring: Path) -> None:
    answers = [b"stacks", json.dumps({"entries": [{"record_id": number} for number in range(1000)]}).encode()]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(ring.with_suffix(control.ASK)))
        listener.listen()
        answering = threading.Thread(target=tell, args=(listener, answers))
        answering.start()
        found = ask(ring, PROC, 20.0, 4096)
        answering.join()
    numbers = [entry["record_id"] for entry in found.flight_recorder["entries"]]
    assert numbers == list(range(numbers[0], 1000))
    assert len(json.dumps(found.flight_recorder)) <= 4096


STACKS = """Thread 0x1 (most recent call first):
  File "/x/threading.py", line 5 in wait

Current thread 0x2 (most recent call first):
  File "/y/attach/control.py", line 7 in _traceback

Thread 0x3 (most recent call first):
  File "/v/site-packages/torch/autograd/graph.py", line 8 in backward
  File "/home/me/train.py", line 9 in <module>
"""


def test_the_main_thread_is_the_last() -> None:
    assert Standing("python", STACKS).frames == ("backward (autograd/graph.py:8)", "<module> (train.py:9)")
    assert Standing("kernel", STACKS).frames == ()


def test_the_smallest_group_is_named_first() -> None:
    waiting = Standing(
        "python", STACKS, {"entries": [{"profiling_name": "gloo:all_reduce", "collective_seq_id": 7}]}
    )
    ranks = dict.fromkeys(range(12), waiting) | {5: Standing("kernel", "")}
    assert summarize(ranks) == (
        "Rank 5 does not answer; ranks 0, 1, 2, 3, 4, 6, 7, 8 and 3 more in backward (autograd/graph.py:8), "
        "last collective gloo:all_reduce 7."
    )
