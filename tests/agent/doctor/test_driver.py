from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from nvml_stub import Driver

from paceline_agent.doctor.driver import cause, version
from paceline_agent.doctor.visit import Visit

VERSION = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (dvs-builder@U22)\n"


@pytest.fixture
def loaded(visit: Callable[..., Visit], tmp_path: Path) -> Visit:
    """The kernel module is there, and two device nodes."""
    one = replace(visit(), devices=tmp_path / "dev")
    (one.world.procfs / "driver/nvidia").mkdir(parents=True)
    (one.world.procfs / "driver/nvidia/version").write_text(VERSION)
    one.devices.mkdir()
    for name in ("nvidiactl", "nvidia0"):
        (one.devices / name).touch()
    return one


def test_what_is_missing_is_named_in_the_order_it_is_needed(loaded: Visit) -> None:
    (loaded.devices / "nvidia0").unlink()
    found = cause(loaded)
    assert found is not None
    assert "/nvidia0" in found.why and found.fix == "nvidia-modprobe -c 0 -u"
    (loaded.world.procfs / "driver/nvidia/version").unlink()
    found = cause(loaded)
    assert found is not None
    assert (found.fix, "not loaded" in found.why) == ("modprobe nvidia", True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open anything")
def test_nodes_that_are_closed(loaded: Visit) -> None:
    (loaded.devices / "nvidia0").chmod(0o000)
    found = cause(loaded)
    assert found is not None and found.fix == f"chmod a+rw {loaded.devices}/nvidia0"


def test_a_library_that_loads(loaded: Visit, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in driver.environment.items():
        monkeypatch.setenv(name, value)
    assert cause(loaded) is None


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="here is a driver")
def test_a_library_that_is_not_installed(loaded: Visit) -> None:
    found = cause(loaded)
    assert found is not None
    assert "libnvidia-ml.so.1" in found.why and "libnvidia-compute" in found.fix


def test_the_modules_version(loaded: Visit, tmp_path: Path) -> None:
    assert version(loaded.world.procfs) == "580.95.05"
    assert version(tmp_path) == ""
