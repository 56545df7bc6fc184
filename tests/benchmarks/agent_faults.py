"""What the agent serves while hardware and drivers misbehave, and how soon it is right again."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent_costs import percentile_99
from exporter_process import Exporter, node_exporter, series
from nvml_stub import device_uuid
from sysfs_trees import RdmaDevice, many_ports
from training_node import TrainingNode

LOST = 3
HANG_SECONDS = 25.0
AWAY_SECONDS = 10.0
GAP_SECONDS = 0.1
PATIENCE_SECONDS = 120.0
STEPS, NIC_BYTES = "paceline_step_number", "paceline_rdma_port_receive_bytes_total"
HCAS = 16
BROKEN = 5


def gpu_lost(node: TrainingNode, agent: Exporter) -> dict[str, Any]:
    """One GPU of eight is lost: seconds until its `up` is 0, and how many others are measured all along."""
    least = []

    def seen() -> bool:
        text = agent.scrape()
        least.append(len(_measured(text) - {device_uuid(LOST)}))
        return _up(text)[device_uuid(LOST)] == 0

    node.driver.set(lost=[LOST])
    lost = _seconds_until(seen)
    node.driver.set(lost=[])
    found = _seconds_until(lambda: _all_back(agent))
    return {"gpu_lost_seconds": lost, "gpu_lost_others_measured": min(least), "gpu_found_seconds": found}


def hang(node: TrainingNode, agent: Exporter) -> dict[str, Any]:
    """Every NVML call hangs: scrapes meanwhile, the greatest age of NIC and step series, and the way back."""
    node.driver.set(hang="*")
    taken: list[float] = []
    moved: dict[str, set[float]] = {STEPS: set(), NIC_BYTES: set()}
    ages: dict[str, float] = {"rdma": 0.0, "steps": 0.0}
    until = time.monotonic() + HANG_SECONDS
    while time.monotonic() < until:
        time.sleep(GAP_SECONDS)
        taken.append(agent.timed())
        text = agent.scrape()
        for labels, age in series(text, "paceline_agent_source_age_seconds"):
            if labels["source"] in ages:
                ages[labels["source"]] = max(ages[labels["source"]], age)
        for name, values in moved.items():
            values.add(sum(value for _, value in series(text, name)))
    node.driver.set(hang="")
    return {
        "hang_scrape_p99_ms": round(percentile_99(taken) * 1e3, 3),
        "hang_scrapes": len(taken),
        "hang_rdma_age_seconds": round(ages["rdma"], 3),
        "hang_steps_age_seconds": round(ages["steps"], 3),
        "hang_rdma_updates": len(moved[NIC_BYTES]) - 1,
        "hang_steps_updates": len(moved[STEPS]) - 1,
        "hang_recovery_seconds": _seconds_until(lambda: _all_back(agent)),
    }


def reload(node: TrainingNode, agent: Exporter) -> dict[str, Any]:
    """The driver is unloaded, and loaded again: seconds from then until all GPUs are measured."""
    node.driver.set(mode="not_loaded")
    time.sleep(AWAY_SECONDS)
    node.driver.set(mode="healthy")
    return {"reload_recovery_seconds": _seconds_until(lambda: _all_back(agent))}


def broken_hca(peer: str | None) -> tuple[int, int | None]:
    """Of 16 HCAs, one answers EINVAL to every read of its port: how many the agent exports, and node_exporter."""
    with tempfile.TemporaryDirectory() as scratch:
        sysfs = Path(scratch) / "sys"
        _, devices = many_ports(sysfs, HCAS)
        _break(devices[BROKEN])
        flags = [
            f"--path.sysfs={sysfs}",
            f"--rings.directory={scratch}/rings",
            f"--state.directory={scratch}/state",
        ]
        command = [sys.executable, "-m", "paceline_exporters", "agent", "--once", *flags]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        ours = _devices(text, NIC_BYTES)
        if peer is None:
            return ours, None
        with node_exporter(peer, sysfs) as other:
            return ours, _devices(other.scrape(), "node_infiniband_port_data_received_bytes_total")


def _break(device: RdmaDevice) -> None:
    for path in [path for path in device.port.rglob("*") if path.is_file()]:
        device.fail(str(path.relative_to(device.port)))


def _devices(text: str, family: str) -> int:
    return len({labels["device"] for labels, _ in series(text, family)})


def _up(text: str) -> dict[str, float]:
    return {labels["uuid"]: value for labels, value in series(text, "paceline_gpu_up")}


def _measured(text: str) -> set[str]:
    return {labels["uuid"] for labels, _ in series(text, "paceline_gpu_power_watts")}


def _all_back(agent: Exporter) -> bool:
    text = agent.scrape()
    return sum(_up(text).values()) == len(_measured(text)) == len(_up(text))


def _seconds_until(what: Callable[[], bool]) -> float:
    began = time.monotonic()
    while not what():
        if time.monotonic() - began > PATIENCE_SECONDS:
            raise TimeoutError("the agent did not notice")
        time.sleep(GAP_SECONDS)
    return round(time.monotonic() - began, 2)
