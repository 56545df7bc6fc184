"""What the agent says of the GPUs against what nvidia-smi says of them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from gpu_readings import Scrape, asked, once

MIB = 2**20
MHZ = 10**6


class Compared(NamedTuple):
    """A field of nvidia-smi and the series that says the same."""

    field: str
    series: str
    labels: tuple[tuple[str, str], ...]
    factor: float
    """From nvidia-smi's unit to the base unit."""
    apart: float
    """How far two readings moments apart may differ, in the base unit."""


COMPARED = (
    Compared("memory.total", "paceline_gpu_memory_total_bytes", (), MIB, MIB),
    Compared("memory.used", "paceline_gpu_memory_used_bytes", (), MIB, 64 * MIB),
    Compared("memory.reserved", "paceline_gpu_memory_reserved_bytes", (), MIB, MIB),
    Compared("power.draw", "paceline_gpu_power_watts", (), 1, 60),
    Compared("enforced.power.limit", "paceline_gpu_power_limit_watts", (("limit", "enforced"),), 1, 0.01),
    Compared("power.min_limit", "paceline_gpu_power_limit_watts", (("limit", "minimum"),), 1, 0.01),
    Compared("power.max_limit", "paceline_gpu_power_limit_watts", (("limit", "maximum"),), 1, 0.01),
    Compared("temperature.gpu", "paceline_gpu_temperature_celsius", (("sensor", "gpu"),), 1, 5),
    Compared("clocks.max.sm", "paceline_gpu_maximum_clock_hertz", (("clock", "sm"),), MHZ, 1),
    Compared("clocks.max.memory", "paceline_gpu_maximum_clock_hertz", (("clock", "memory"),), MHZ, 1),
    Compared("pcie.link.gen.max", "paceline_gpu_pcie_maximum_generation", (), 1, 0),
    Compared("pcie.link.width.max", "paceline_gpu_pcie_maximum_width", (), 1, 0),
    Compared("pcie.link.width.current", "paceline_gpu_pcie_width", (), 1, 0),
)
LOAD = """
import sys, time, torch
a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
end = time.monotonic() + float(sys.argv[1])
print("running", flush=True)
while time.monotonic() < end:
    for _ in range(50):
        a = (a @ a).clamp_(-1, 1)
    torch.cuda.synchronize()
"""


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Scrape:
    """A scrape without load."""
    return once(tmp_path_factory.mktemp("idle"))


@pytest.mark.parametrize("compared", COMPARED, ids=lambda compared: compared.field)
def test_a_reading_is_nvidia_smis(idle: Scrape, compared: Compared) -> None:
    for uuid, fields in asked(compared.field).items():
        said = fields[compared.field]
        ours = idle[compared.series].get(tuple(sorted((("uuid", uuid), *compared.labels))))
        if said.startswith("[") or said == "N/A":
            assert ours is None, f"{uuid}: nvidia-smi says {said}, so nothing must be served"
        else:
            assert ours == pytest.approx(float(said) * compared.factor, abs=compared.apart)


def test_every_gpu_is_expected_present_and_up(idle: Scrape) -> None:
    for uuid in asked("index"):
        key = (("uuid", uuid),)
        assert [idle[f"paceline_gpu_{name}"][key] for name in ("expected", "present", "up")] == [1, 1, 1]


def test_names_and_addresses(idle: Scrape) -> None:
    infos = {dict(labels)["uuid"]: dict(labels) for labels in idle["paceline_gpu_info"]}
    for uuid, fields in asked("index", "name", "pci.bus_id", "vbios_version").items():
        assert infos[uuid]["index"] == fields["index"]
        assert infos[uuid]["name"] == fields["name"]
        # nvidia-smi writes an eight-digit domain in capitals.
        assert infos[uuid]["pci"] == fields["pci.bus_id"].lower()[4:]
        assert infos[uuid]["vbios"] == fields["vbios_version"]


def test_under_load_the_readings_show_it(idle: Scrape, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch has no CUDA here")
    command = [sys.executable, "-c", LOAD, "25"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as load:
        assert load.stdout is not None and load.stdout.readline().strip() == "running"
        time.sleep(5)
        first = once(tmp_path / "a")
        second = once(tmp_path / "b")
        load.wait()
    (uuid, said), *_ = asked("power.max_limit").items()
    key = (("uuid", uuid),)
    assert second["paceline_gpu_utilization_ratio"][key] > 0.9
    assert second["paceline_gpu_power_watts"][key] > 0.4 * float(said["power.max_limit"])
    assert second["paceline_gpu_power_watts"][key] > 1.5 * idle["paceline_gpu_power_watts"][key]
    assert second["paceline_gpu_energy_joules_total"][key] > first["paceline_gpu_energy_joules_total"][key]
    assert second["paceline_gpu_memory_used_bytes"][key] > idle["paceline_gpu_memory_used_bytes"][key] + 256 * MIB
    assert second["paceline_gpu_processes"][key] >= 1
