from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from nvml_stub import Driver

from paceline_exporters.sources.gpu.process import MOST_ABANDONED, Child, Killed

PARENT = """
import sys, time
from paceline_exporters.sources.gpu.process import Child
child = Child((), 0.0)
while not child.rounds:
    child.read()
    time.sleep(0.02)
print(child.process.pid, flush=True)
time.sleep(600)
"""
RESIDENT_MIB = 20
"""What the child may have, with the stand-in's own; measured: 15."""


@pytest.fixture
def environment(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in driver.environment.items():
        monkeypatch.setenv(name, value)


def rest(child: Child) -> None:
    end = time.monotonic() + 60
    while not child.rounds:
        assert time.monotonic() < end
        child.read()
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("hang", ["", "nvmlDeviceGetPowerUsage"])
def test_the_child_ends_with_the_agent_also_inside_the_driver(driver: Driver, hang: str) -> None:
    environment = {**os.environ, **driver.environment}
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        driver.set(hang=hang)
        if hang:
            time.sleep(2.5)  # its next round has begun
        parent.kill()
    end = time.monotonic() + 30
    while is_alive(pid):
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.usefixtures("environment")
def test_the_child_is_small_and_says_what_it_costs() -> None:
    child, killed = Child((), 0.0), Killed()
    rest(child)
    assert child.is_resting
    cost = child.cost()
    assert cost is not None
    memory, seconds = cost
    assert memory < RESIDENT_MIB * 2**20
    assert seconds > 0
    assert child.nvml_seconds > 0
    killed.add(child)
    killed.wait(30)
    assert child.cost() is None
    assert killed.has_room


@pytest.mark.usefixtures("environment")
def test_the_child_does_not_answer_to_the_terminal() -> None:
    child, killed = Child((), 0.0), Killed()
    rest(child)
    child.process.send_signal(signal.SIGINT)
    before = child.rounds
    end = time.monotonic() + 60
    while child.rounds == before:
        assert time.monotonic() < end
        child.read()
        time.sleep(0.02)
    killed.add(child)
    killed.wait(30)


@pytest.mark.slow
@pytest.mark.usefixtures("environment")
def test_children_that_do_not_end_are_abandoned_and_bounded() -> None:
    """Uninterruptible sleep cannot be made at will: here SIGKILL is what does not arrive."""
    killed = Killed(kill=lambda process: None)
    children = [Child((), 0.0) for _ in range(MOST_ABANDONED)]
    for number, child in enumerate(children):
        rest(child)
        child.process.send_signal(signal.SIGSTOP)  # without its pipe it would end by itself
        killed.add(child)
        assert not killed.has_room, "one that dies is waited for"
        while killed.abandoned <= number:
            killed.sweep()
            time.sleep(0.05)
        assert killed.has_room == (number + 1 < MOST_ABANDONED)
    children[0].process.kill()
    children[0].process.wait()
    killed.sweep()
    assert killed.has_room
    assert killed.abandoned == 1
    assert killed.abandoned_total == 2
    children[1].process.kill()
    children[1].process.wait()
