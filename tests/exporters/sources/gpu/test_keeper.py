from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from nvml_stub import Driver

from paceline_exporters.sources.gpu import keeper as module
from paceline_exporters.sources.gpu import process
from paceline_exporters.sources.gpu.keeper import Keeper
from paceline_exporters.sources.gpu.messages import Message


@pytest.fixture(autouse=True)
def environment(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in driver.environment.items():
        monkeypatch.setenv(name, value)


def until(keeper: Keeper, what: Callable[[], object], expecting: bool = True) -> list[Message]:
    messages: list[Message] = []
    end = time.monotonic() + 90
    while not what():
        assert time.monotonic() < end, keeper.trouble
        messages += keeper.poll(expecting)
        time.sleep(0.05)
    return messages


def works(keeper: Keeper) -> Callable[[], object]:
    return lambda: keeper.child and keeper.child.rounds


def test_polling_never_waits_for_the_driver(driver: Driver) -> None:
    driver.set(hang="*")
    keeper = Keeper()
    keeper.poll(True)
    slowest = 0.0
    for _ in range(20):
        before = time.thread_time()
        keeper.poll(True)
        slowest = max(slowest, time.thread_time() - before)
        time.sleep(0.01)
    assert keeper.child is not None
    assert not keeper.child.rounds
    assert slowest < 0.1
    keeper.close()


def test_every_call_is_announced_and_the_time_in_nvml_is_told(driver: Driver) -> None:
    keeper = Keeper()
    messages = until(keeper, works(keeper))
    announced = {tuple(message[1:3]) for message in messages if message[0] == "begin"}
    told = {tuple(message[1:3]) for message in messages if message[0] == "data"}
    assert len(told) == 8 * 4
    assert told <= announced
    assert keeper.nvml_seconds > 0
    keeper.close()
    assert keeper.child is None
    assert keeper.killed.has_room


def test_time_in_nvml_is_kept_over_restarts(driver: Driver) -> None:
    keeper = Keeper()
    until(keeper, works(keeper))
    before, _ = keeper.nvml_seconds, keeper.poll(True)
    driver.reload()
    until(keeper, lambda: keeper.restarts["driver"])
    assert keeper.nvml_seconds >= before
    _, cpu = keeper.cost()
    assert cpu > 0
    keeper.close()


def test_time_lost_in_a_call_that_hangs_is_time_in_nvml(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEADLINE_SECONDS", 1.0)
    keeper = Keeper()
    until(keeper, works(keeper))
    driver.set(hang="*")
    before = keeper.nvml_seconds
    until(keeper, lambda: keeper.deadline_misses["fast"])
    assert keeper.nvml_seconds - before >= 1.0
    keeper.close()


@pytest.mark.slow
def test_a_gpu_that_hangs_is_left_for_last_and_the_others_stay_fresh(driver: Driver) -> None:
    keeper = Keeper()
    messages = until(keeper, works(keeper))
    uuids = [gpu["uuid"] for message in messages if message[0] == "topology" for gpu in message[2]]
    driver.set(hang="nvmlDeviceGetPowerUsage", hang_gpus=[3])
    until(keeper, lambda: keeper.deadline_misses["fast"])
    assert keeper.suspects == {uuids[3]}
    messages = until(keeper, lambda: keeper.child and keeper.child.rounds >= 2)
    assert {message[2] for message in messages if message[:2] == ["data", "fast"]} == {*uuids} - {uuids[3]}
    assert isinstance(keeper.trouble, TimeoutError)
    driver.set(hang="", hang_gpus=[])
    until(keeper, lambda: not keeper.suspects)
    until(keeper, lambda: keeper.trouble is None)
    keeper.close()


@pytest.mark.slow
def test_no_child_is_started_beyond_those_abandoned(driver: Driver) -> None:
    """Uninterruptible sleep cannot be made at will: here the child is stopped, and SIGKILL does not arrive."""
    stuck: list[subprocess.Popen[bytes]] = []

    def leave(child: subprocess.Popen[bytes]) -> None:
        child.send_signal(signal.SIGSTOP)
        stuck.append(child)

    keeper = Keeper(leave)
    driver.set(hang="nvmlDeviceGetPowerUsage")
    until(keeper, lambda: keeper.killed.abandoned == process.MOST_ABANDONED)
    wait_until = time.monotonic() + max(module.BACKOFF_SECONDS) + 1
    until(keeper, lambda: time.monotonic() > wait_until)
    assert keeper.child is None
    assert len(stuck) == process.MOST_ABANDONED
    driver.set(hang="")
    stuck[0].kill()
    until(keeper, works(keeper))
    assert keeper.killed.abandoned == 1
    stuck[1].kill()
    until(keeper, lambda: keeper.killed.abandoned == 0)
    assert keeper.child is not None
    keeper.child.process.kill()
    keeper.close()


def test_a_driver_is_looked_for_at_once_when_a_gpu_is_seen(driver: Driver) -> None:
    driver.set(mode="not_loaded")
    keeper = Keeper()
    until(keeper, lambda: keeper.restarts["driver"], expecting=False)
    driver.set(mode="healthy")
    began = time.monotonic()
    until(keeper, works(keeper))
    assert time.monotonic() - began < module.RARELY_SECONDS / 2
    keeper.close()


def test_without_bindings_the_trouble_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    monkeypatch.delitem(__import__("sys").modules, "pynvml", raising=False)
    keeper = Keeper()
    keeper.poll(False)
    assert keeper.child is None
    assert "pip install" in str(keeper.trouble)
