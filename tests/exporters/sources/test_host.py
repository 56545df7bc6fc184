from __future__ import annotations

import os
from pathlib import Path

import pytest

from paceline_exporters.metrics import Samples
from paceline_exporters.sources.contract import World
from paceline_exporters.sources.host import CPU_MODES, HostSource

PROCFS = Path(__file__).parents[2] / "fixtures" / "procfs"


def values(samples: Samples) -> dict[str, object]:
    return {
        " ".join((family.name.removeprefix("paceline_host_"), *labels)): value
        for family, points in samples.points.items()
        for labels, value in points.items()
    }


def test_a_host_read_from_another_root() -> None:
    found = values(HostSource(World(procfs=PROCFS)).sample())
    ticks = {
        "user": 100,
        "nice": 200,
        "system": 300,
        "idle": 4000,
        "iowait": 50,
        "irq": 6,
        "softirq": 7,
        "steal": 8,
    }
    tick = os.sysconf("SC_CLK_TCK")
    assert {mode: found[f"cpu_seconds_total {mode}"] for mode in CPU_MODES} == {
        mode: count / tick for mode, count in ticks.items()
    }
    assert found["cpus"] == 2
    assert [found[f"load_average {window}"] for window in ("1m", "5m", "15m")] == [0.5, 1.25, 2.0]
    assert found["memory_total_bytes"] == 1000 * 1024
    assert found["memory_available_bytes"] == 600 * 1024
    assert found["network_receive_bytes_total eth0"] == 1000
    assert found["network_transmit_bytes_total eth0"] == 2000
    assert found["network_receive_drops_total eth0"] == 2
    assert found["network_transmit_errors_total eth0"] == 3


def test_devices_of_containers_are_left_out() -> None:
    assert not any("veth" in name for name in values(HostSource(World(procfs=PROCFS)).sample()))


def test_an_empty_procfs_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="stat"):
        HostSource(World(procfs=tmp_path)).sample()
