"""A process that answers where it stands, asked over its real sockets."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import paceline_exporters.attach
from paceline_exporters.attach import control
from paceline_exporters.rings import RingDirectory

Start = Callable[..., subprocess.Popen[str]]

SITE = Path(paceline_exporters.attach.__file__).parent / "path"
READY = """
import ctypes, os, sys, threading, time
threading.Thread(target=threading.Event().wait, daemon=True).start()
from _paceline_attach import session
session.event("checkpoint")
print("ready", flush=True)
"""
ASLEEP = "def asleep():\n    time.sleep(600)\nasleep()\n"
SLEEP = READY + ASLEEP
HELD = READY.replace("print", "def stuck():\n    print") + "    ctypes.PyDLL(None).sleep(600)\nstuck()\n"
"""PyDLL keeps the GIL."""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    begun = []

    def run(script: str, directory: Path = tmp_path / "rings") -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(SITE), "PACELINE_RING_DIR": str(directory)}
        begun.append(
            subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True)
        )
        output = begun[-1].stdout
        assert output is not None
        assert output.readline() == "ready\n"
        return begun[-1]

    yield run
    for process in begun:
        process.kill()
        process.communicate()


def ring_in(directory: Path) -> Path:
    (ring,) = directory.glob("*.ring")
    return ring


def stacks(ring: Path, function: str) -> str:
    """Once the main thread, which is listed last, has come to `function`."""
    for _ in range(3000):
        text = answer(ring, control.TRACEBACK)
        if f"in {function}" in text.rpartition("Thread 0x")[2]:
            return text
        time.sleep(0.01)
    raise AssertionError(text)


@contextlib.contextmanager
def address(ring: Path, suffix: str) -> Iterator[str]:
    """Of a socket beside the ring, however long the path: a socket's own holds 108 bytes."""
    directory = os.open(ring.parent, os.O_PATH)
    try:
        yield f"/proc/self/fd/{directory}/{ring.with_suffix(suffix).name}"
    finally:
        os.close(directory)


def answer(ring: Path, word: bytes) -> str:
    with socket.socket(socket.AF_UNIX) as asking, address(ring, control.ASK) as path:
        asking.settimeout(30)
        asking.connect(path)
        asking.sendall(word)
        return b"".join(iter(lambda: asking.recv(65536), b"")).decode()


def poke(ring: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as poking, address(ring, control.STUCK) as path:
        poking.sendto(b"?", path)


def written(ring: Path) -> str:
    """The stacks file, once the main thread, which is listed last, stands in it."""
    for _ in range(3000):
        text = ring.with_suffix(control.STACKS).read_text()
        if "in <module>" in text:
            return text
        time.sleep(0.01)
    raise AssertionError("no stacks were written")


def test_a_sleeping_process_tells_its_stacks(start: Start, tmp_path: Path) -> None:
    start(SLEEP)
    ring = ring_in(tmp_path / "rings")
    for _ in range(2):
        assert stacks(ring, "asleep").count("in asleep") == 1  # each by itself
    assert answer(ring, control.FLIGHT_RECORDER) == ""  # without torch
    assert answer(ring, b"anything else") == ""


def test_only_the_owner_may_ask(start: Start, tmp_path: Path) -> None:
    start("import os\nos.umask(0)\n" + SLEEP)
    for path in control.beside(ring_in(tmp_path / "rings")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_process_that_holds_the_gil_tells_its_stacks_when_poked(start: Start, tmp_path: Path) -> None:
    start(HELD)
    ring = ring_in(tmp_path / "rings")
    poke(ring)
    assert "in stuck" in written(ring)


def test_a_poke_interrupts_no_thread_of_the_job(start: Start, tmp_path: Path) -> None:
    script = READY + (
        "reader, writer = os.pipe()\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "print(libc.poll(ctypes.byref((ctypes.c_int * 2)(reader, 1)), 1, 3000), ctypes.get_errno())\n"
    )
    process = start(script)
    ring = ring_in(tmp_path / "rings")
    for _ in range(5):
        poke(ring)
        time.sleep(0.1)
    assert "in <module>" in written(ring)
    output, _ = process.communicate(timeout=60)
    assert output == "0 0\n"  # neither -1 nor EINTR


def test_a_client_that_leaves_at_once_ends_neither_the_job_nor_the_answers(start: Start, tmp_path: Path) -> None:
    process = start("import signal\nsignal.signal(signal.SIGPIPE, signal.SIG_DFL)\n" + SLEEP)
    ring = ring_in(tmp_path / "rings")
    for _ in range(8):
        with socket.socket(socket.AF_UNIX) as asking, address(ring, control.ASK) as path:
            asking.connect(path)
            asking.sendall(control.TRACEBACK)
    assert stacks(ring, "asleep")
    assert process.poll() is None


def test_a_long_directory_is_no_matter(start: Start, tmp_path: Path) -> None:
    directory = tmp_path / ("long" * 40) / "rings"
    start(SLEEP, directory)
    assert ring_in(directory).with_suffix(control.ASK).is_socket()


def test_nothing_is_left_after_an_orderly_end(start: Start, tmp_path: Path) -> None:
    process = start(
        READY + "if os.fork() == 0:\n    sys.exit()\nos.wait()\nprint('forked', flush=True)\ninput()\n"
    )
    process.communicate(timeout=60)
    assert {path.suffix for path in (tmp_path / "rings").iterdir()} == {".ring"}


def test_what_a_killed_process_left_goes_with_its_ring(start: Start, tmp_path: Path) -> None:
    start(SLEEP).kill()
    directory = RingDirectory(tmp_path / "rings")
    (reader,) = directory.scan().rings.values()
    while reader.alive():
        time.sleep(0.01)
    assert len(list((tmp_path / "rings").iterdir())) == 4
    assert directory.sweep(older_than_seconds=-1.0) == 1
    assert list((tmp_path / "rings").iterdir()) == []
    directory.close()


def test_a_forked_childs_end_leaves_the_sockets(start: Start, tmp_path: Path) -> None:
    process = start(
        READY + "if os.fork() == 0:\n    sys.exit()\nos.wait()\nprint('forked', flush=True)\n" + ASLEEP
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "forked\n"
    assert stacks(ring_in(tmp_path / "rings"), "asleep")


def test_a_process_of_one_thread_stays_so(start: Start, tmp_path: Path) -> None:
    process = start(READY.replace("threading.Thread", "# ") + "time.sleep(600)\n")
    assert len(list(Path(f"/proc/{process.pid}/task").iterdir())) == 1
    assert {path.suffix for path in (tmp_path / "rings").iterdir()} == {".ring"}


def test_signals_of_the_job_are_left_alone() -> None:
    highest = signal.SIGRTMAX
    before = signal.signal(highest, lambda *_: None)
    try:
        assert control._unused_signal() == highest - 1
    finally:
        signal.signal(highest, before)
    assert control._unused_signal() == highest


def test_a_directory_that_is_gone_is_said_once(tmp_path: Path, capsys: Any) -> None:
    for _ in range(2):
        control.start(tmp_path / "gone" / "a.ring")
    said = [line for line in capsys.readouterr().err.splitlines() if "answering where a rank stands" in line]
    assert len(said) <= 1
