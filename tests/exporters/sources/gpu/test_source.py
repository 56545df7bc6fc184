from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pynvml
import pytest
from nvml_stub import Driver

from paceline_exporters.metrics import Renderer, Value
from paceline_exporters.sources.board import Gpu, GpuProcess
from paceline_exporters.sources.contract import World
from paceline_exporters.sources.gpu import keeper
from paceline_exporters.sources.gpu import source as module
from paceline_exporters.sources.gpu.families import KNOWN_ERRORS
from paceline_exporters.sources.gpu.fleet import STALE_SECONDS
from paceline_exporters.sources.gpu.keeper import BACKOFF_SECONDS, RARELY_SECONDS
from paceline_exporters.sources.gpu.source import GpuSource
from paceline_exporters.sources.gpu.xid_codes import ALERTED

from .conftest import Watch
from .test_inventory import add_function

GIB = 2**30
# What pynvml says, asked by another process, in NVML's own units.
READS = """
import json, sys
import pynvml as n
n.nvmlInit()
rows = []
for index in range(n.nvmlDeviceGetCount()):
    h = n.nvmlDeviceGetHandleByIndex(index)
    memory = n.nvmlDeviceGetMemoryInfo(h, n.nvmlMemory_v2)
    field = lambda number, scope=0: n.nvmlDeviceGetFieldValues(h, [(number, scope)])[0].value.ullVal
    rows.append({
        "uuid": n.nvmlDeviceGetUUID(h),
        "utilization_ratio": n.nvmlDeviceGetUtilizationRates(h).gpu / 100,
        "memory_used_bytes": memory.used,
        "memory_reserved_bytes": memory.reserved,
        "power_watts": n.nvmlDeviceGetPowerUsage(h) / 1000,
        "energy_joules_total": n.nvmlDeviceGetTotalEnergyConsumption(h) / 1000,
        "temperature_celsius gpu": n.nvmlDeviceGetTemperatureV(h, 0),
        "temperature_celsius memory": field(n.NVML_FI_DEV_MEMORY_TEMP),
        "clock_hertz sm": n.nvmlDeviceGetClockInfo(h, n.NVML_CLOCK_SM) * 1000000,
        "maximum_clock_hertz sm": n.nvmlDeviceGetMaxClockInfo(h, n.NVML_CLOCK_SM) * 1000000,
        "power_limit_watts enforced": n.nvmlDeviceGetEnforcedPowerLimit(h) / 1000,
        "throttle_seconds_total sw_power_cap": n.nvmlDeviceGetViolationStatus(h, 0).violationTime / 1e9,
        "throttle_active sw_power_cap": int(n.nvmlDeviceGetCurrentClocksEventReasons(h) & 4 != 0),
        "ecc_aggregate_corrected_total dram": n.nvmlDeviceGetMemoryErrorCounter(h, 0, 1, 2),
        "ecc_volatile_uncorrected_total sram": n.nvmlDeviceGetMemoryErrorCounter(h, 1, 0, 7),
        "pcie_replays_total": n.nvmlDeviceGetPcieReplayCounter(h),
        "pcie_bytes_total receive": field(n.NVML_FI_DEV_PCIE_COUNT_RX_BYTES),
        "nvlink_bytes_total transmit": field(n.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX, 0xFFFFFFFF) * 1024,
        "pcie_generation": n.nvmlDeviceGetCurrPcieLinkGeneration(h),
        "pcie_width": n.nvmlDeviceGetCurrPcieLinkWidth(h),
        "remapped_rows corrected": n.nvmlDeviceGetRemappedRows(h)[0],
    })
print(json.dumps(rows))
"""


def test_healthy_gpus_read_as_another_process_reads_them(watch: Watch, driver: Driver) -> None:
    driver.set(seconds=1000, values={"remapped_corrected": {3: 5}, "power": {2: 123456}})
    node = watch()
    environment = {**os.environ, **driver.environment}
    done = subprocess.run([sys.executable, "-c", READS], env=environment, capture_output=True, check=True)
    rows = json.loads(done.stdout)
    assert len(rows) == 8

    def found(uuid: str, key: str) -> Value:
        name, *label = key.split()
        return node.by_family(f"paceline_gpu_{name}").get((uuid, *label))

    for row in rows:
        uuid = row.pop("uuid")
        node.until(lambda uuid=uuid, row=row: None not in [found(uuid, key) for key in row])  # type: ignore[misc]
        for key, expected in row.items():
            assert found(uuid, key) == pytest.approx(expected), (uuid, key)
    assert node.of("power_watts")[2] == pytest.approx(123.456)
    assert node.of("up") == node.of("expected") == node.of("present") == [1] * 8
    assert node.samples.problem is None
    assert node.by_family("paceline_nvml_available") == {(): 1}
    assert node.by_family("paceline_gpus_expected") == node.by_family("paceline_gpus_up") == {(): 8}


def test_everything_the_child_reads_has_a_family_and_fits_the_contract(watch: Watch, driver: Driver) -> None:
    driver.set(mig=[1], processes=[(0, 4711, GIB)], values={"fans": 1})
    node = watch()
    node.until(lambda: node.by_family("paceline_mig_sm_active_ratio"))
    node.until(lambda: node.by_family("paceline_gpu_sm_active_ratio"))
    Renderer(node.source.families, 5000).render(node.samples)  # raises for a family that is not declared
    for family, points in node.samples.points.items():
        assert {len(labels) for labels in points} == {len(family.labels)}, family.name
    child_only = {"processes"}
    fleet = node.source._fleet
    named = {name for uuid in node.uuids for reading in fleet.readings(uuid) for name in reading.values}
    assert {f"paceline_gpu_{name}" for name in named - child_only} <= {f.name for f in node.source.families}


def test_gpm_needs_two_samples_and_is_a_ratio(watch: Watch, driver: Driver) -> None:
    driver.set(values={"gpm_sm": 78, "gpm_tensor": 41})
    node = watch()
    assert node.by_family("paceline_gpu_sm_active_ratio") == {}
    node.until(lambda: node.by_family("paceline_gpu_sm_active_ratio"))
    assert node.of("sm_active_ratio") == [pytest.approx(0.78)] * 8
    assert node.of("tensor_active_ratio") == [pytest.approx(0.41)] * 8


def test_a_lost_gpu_is_down_and_the_others_stay_until_it_is_back(watch: Watch, driver: Driver) -> None:
    node = watch()
    third = node.uuids[3]
    driver.set(lost=[3])
    node.until(lambda: node.of("up")[3] == 0)
    assert node.down == {third: "lost"}
    assert node.of("power_watts")[3] is None, "a measurement is dropped, not frozen"
    assert node.of("up") == [1, 1, 1, 0, 1, 1, 1, 1]
    assert None not in [value for place, value in enumerate(node.of("power_watts")) if place != 3]
    assert third in node.uuids
    assert node.samples.problem is None, "one lost GPU is no failure of the source"
    driver.set(lost=[])
    node.until(lambda: node.of("up") == [1] * 8)
    assert node.counted("child_restarts", "reprobe") != 0
    assert node.down == {}


def test_a_gpu_that_is_gone_stays_expected_also_after_a_restart_of_the_agent(
    watch: Watch, driver: Driver
) -> None:
    node = watch()
    fifth = node.uuids[5]
    node.source.close()
    driver.set(gone=[5])
    again = watch()
    again.until(lambda: again.by_family("paceline_gpus_up") == {(): 7})
    assert again.down == {fifth: "missing"}
    assert again.by_family("paceline_gpus_expected") == {(): 8}
    assert again.by_family("paceline_gpu_present")[(fifth,)] == 0


@pytest.mark.slow
@pytest.mark.parametrize("function", ["nvmlDeviceGetPowerUsage", "nvmlDeviceGetPcieReplayCounter"])
def test_a_call_that_hangs_costs_the_child_and_not_the_inventory(
    watch: Watch, driver: Driver, function: str
) -> None:
    node = watch()
    first = node.child_pid
    driver.set(hang=function)
    node.until(lambda: node.of("up") == [0] * 8)
    assert len(node.uuids) == 8
    assert node.by_family("paceline_gpu_power_watts") == {}
    assert isinstance(node.samples.problem, TimeoutError)
    assert node.counted("child_restarts", "deadline") != 0
    group = "fast" if "Power" in function else "slow"
    assert node.counted("deadline_misses", group) != 0
    driver.set(hang="")
    node.until(lambda: node.of("up") == [1] * 8 and node.samples.problem is None)
    assert node.child_pid != first


@pytest.mark.slow
def test_a_gpu_that_hangs_alone_is_down_alone(watch: Watch, driver: Driver) -> None:
    node = watch()
    third = node.uuids[3]
    driver.set(hang="nvmlDeviceGetPowerUsage", hang_gpus=[3])
    node.until(lambda: node.down == {third: "hung"})
    node.until(lambda: node.source.keeper.deadline_misses["fast"] == 2)
    assert node.of("up") == [1, 1, 1, 0, 1, 1, 1, 1]
    assert isinstance(node.samples.problem, TimeoutError)
    driver.set(hang="", hang_gpus=[])
    node.until(lambda: node.of("up") == [1] * 8 and node.samples.problem is None)


@pytest.mark.slow
def test_init_that_hangs_is_given_up_and_tried_again(
    watch: Watch, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0.0)  # there is no first round
    driver.set(hang="nvmlInitWithFlags")
    node = watch()
    node.until(lambda: node.source.keeper.deadline_misses["init"])
    assert node.by_family("paceline_nvml_available") == {(): 0}
    driver.set(hang="")
    node.until(lambda: len(node.uuids) == 8 and node.of("up") == [1] * 8)


def test_a_driver_reload_is_recovered_from(watch: Watch, driver: Driver) -> None:
    node = watch()
    driver.set(mode="not_loaded")
    node.until(lambda: node.of("up") == [0] * 8)
    assert set(node.down.values()) == {"driver"}
    assert isinstance(node.samples.problem, OSError)
    driver.set(mode="healthy")
    node.until(lambda: node.of("up") == [1] * 8 and node.samples.problem is None)
    assert node.counted("child_restarts", "driver") != 0


def test_a_reload_too_fast_to_be_seen_gives_new_handles(watch: Watch, driver: Driver) -> None:
    node = watch()
    driver.reload()
    node.until(lambda: node.source.keeper.restarts["driver"])
    node.until(lambda: node.of("up") == [1] * 8)


def test_a_library_that_does_not_match_the_driver_is_named(watch: Watch, driver: Driver) -> None:
    node = watch()
    driver.set(mode="mismatch")
    driver.reload()
    node.until(lambda: "mismatch" in str(node.samples.problem))
    assert node.of("up") == [0] * 8


def test_unsupported_readings_are_absent_and_not_asked_again(watch: Watch, driver: Driver) -> None:
    missing = ["nvmlDeviceGetPowerUsage", "nvmlDeviceGetTotalEnergyConsumption", "field:82", "nvmlGpmSampleGet"]
    driver.set(unsupported=[*missing, "nvmlEventSetCreate", "nvmlDeviceGetMemoryInfo_v2"])
    node = watch()
    assert node.of("up") == [1] * 8
    assert node.of("power_watts") == node.of("energy_joules_total") == [None] * 8
    assert {labels[1] for labels in node.by_family("paceline_gpu_temperature_celsius")} == {"gpu"}
    assert None not in node.of("memory_used_bytes"), "the older call is there"
    assert node.of("memory_reserved_bytes") == [None] * 8
    assert node.samples.problem is None
    driver.set(unsupported=[])
    driver.reload()
    node.until(lambda: None not in node.of("power_watts"))


def test_calls_that_fail_are_counted_by_error(watch: Watch, driver: Driver) -> None:
    node = watch()
    assert node.counted("call_errors", "unknown") == node.counted("call_errors", "memory") == 0
    driver.set(failing=["nvmlDeviceGetPowerUsage", "field:82"])
    node.until(lambda: node.of("power_watts") == [None] * 8)
    assert node.of("up") == [1] * 8
    node.until(lambda: node.source.keeper.errors["unknown"] >= 2 * 8)
    before = node.source.keeper.errors["unknown"]
    os.kill(node.child_pid, signal.SIGKILL)
    node.until(lambda: node.source.keeper.errors["unknown"] >= before + 2 * 8)
    assert node.counted("call_errors", "unknown") == node.source.keeper.errors["unknown"]


def test_what_nvml_may_say_is_named_as_the_bindings_do() -> None:
    assert {f"NVML_ERROR_{name.upper()}" for name in KNOWN_ERRORS} <= vars(pynvml).keys()


def test_a_driver_that_lacks_functions_is_an_older_driver(
    watch: Watch, tmp_path: Path, nvml_library: Path
) -> None:
    absent = ["nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetCurrentClocksEventReasons", "nvmlGpmQueryDeviceSupport"]
    absent += ["nvmlDeviceGetGpuFabricInfoV", "nvmlDeviceGetMarginTemperature"]
    (tmp_path / "old").mkdir()
    old = Driver(tmp_path / "old", builds=nvml_library, absent=absent)
    old.set(driver_version="470.256.02", values={"clocks_event_reasons": 4, "violation_power": 3_000_000_000})
    node = watch(use=old)
    assert node.of("up") == [1] * 8
    assert None not in node.of("memory_used_bytes")
    uuid = node.uuids[0]
    assert node.by_family("paceline_gpu_throttle_active")[(uuid, "sw_power_cap")] == 1
    seconds = node.by_family("paceline_gpu_throttle_seconds_total")
    assert seconds[(uuid, "sw_power_cap")] == 3
    assert (uuid, "hw_thermal") not in seconds, "ids from 251 on meant other things then"
    assert node.by_family("paceline_gpu_fabric_state") == {}


def test_throttle_seconds_come_from_the_violation_status_where_there_are_no_fields(
    watch: Watch, driver: Driver
) -> None:
    fields = [f"field:{number}" for number in (74, 75, 76, 77, 78, 79, 269, 270, 271)]
    driver.set(unsupported=fields, values={"violation_power": 7_000_000_000})
    node = watch()
    uuid = node.uuids[0]
    node.until(lambda: node.by_family("paceline_gpu_throttle_seconds_total"))
    assert node.by_family("paceline_gpu_throttle_seconds_total")[(uuid, "sw_power_cap")] == 7


@pytest.fixture
def long_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than what keeps a busy machine from a call, and less than what slow ones take together."""
    monkeypatch.setattr(keeper, "DEADLINE_SECONDS", 8.0)


@pytest.mark.usefixtures("long_deadline")
def test_slow_calls_are_no_failure(watch: Watch, driver: Driver) -> None:
    driver.set(slow_ms=15)
    node = watch()
    node.until(lambda: len(node.uuids) == 8 and node.of("up") == [1] * 8)
    assert node.counted("child_restarts", "deadline") == 0
    assert node.samples.problem is None


@pytest.mark.slow
@pytest.mark.usefixtures("long_deadline")
@pytest.mark.parametrize("slow_ms", [20, 60])
def test_a_driver_that_dawdles_answers(watch: Watch, driver: Driver, slow_ms: int) -> None:
    """At 60 ms a call, what is asked of a GPU within 12 s takes the driver 9 s."""
    node = watch()
    node.until(lambda: None not in node.of("processes"))
    driver.set(slow_ms=slow_ms)
    missing: list[int] = []

    def over() -> bool:
        if node.is_steady:
            missing.append(node.of("up").count(0) + node.of("processes").count(None))
        return time.monotonic() > end

    end = time.monotonic() + 30
    node.until(over)
    assert not any(missing)
    assert node.counted("child_restarts", "deadline") == 0, "no call took long"


def test_mig_instances_are_series_of_their_own_and_follow_a_reconfiguration(watch: Watch, driver: Driver) -> None:
    driver.set(mig=[2], processes=[(2, 99, GIB), (0, 7, 2 * GIB)])
    node = watch()
    parent = node.uuids[2]
    assert {labels[1] for labels in node.by_family("paceline_mig_info")} == {parent}
    assert {labels[4] for labels in node.by_family("paceline_mig_info")} == {"3g.40gb", "2g.20gb"}
    instances = {labels[0] for labels in node.by_family("paceline_mig_memory_used_bytes")}
    assert len(instances) == 2
    assert not instances & set(node.uuids)
    assert sorted(node.by_family("paceline_mig_processes").values()) == [0, 1]  # type: ignore[type-var]
    assert node.of("processes")[2] is None, "counted per instance"
    gpus = node.source._board.gpus or ()
    assert [gpu.parent for gpu in gpus if gpu.uuid in instances] == [parent] * 2
    node.until(lambda: node.by_family("paceline_mig_sm_active_ratio"))
    driver.set(mig=[], processes=[])
    node.until(lambda: not node.by_family("paceline_mig_info"))
    node.until(lambda: node.of("processes")[2] == 0)
    driver.set(mig=[0])
    node.until(lambda: {labels[1] for labels in node.by_family("paceline_mig_info")} == {node.uuids[0]})
    assert node.of("up") == [1] * 8


def test_an_ecc_storm_is_counted_by_location(watch: Watch, driver: Driver) -> None:
    driver.set(ecc_storm=[6], seconds=50)
    node = watch()
    uuid = node.uuids[6]
    assert node.by_family("paceline_gpu_ecc_volatile_corrected_total")[(uuid, "dram")] == 50_000
    assert node.by_family("paceline_gpu_ecc_volatile_uncorrected_total")[(uuid, "dram")] == 50
    driver.set(seconds=60)
    node.until(lambda: 60_000 in node.by_family("paceline_gpu_ecc_volatile_corrected_total").values())


def test_a_link_is_named_by_its_errors(watch: Watch, driver: Driver) -> None:
    driver.set(values={"nvlink_active": {1: (1 << 18) - 1 - (1 << 4)}, "nvlink_crc_flit_errors": {1: 9}})
    node = watch()
    uuid = node.uuids[1]
    up = node.by_family("paceline_gpu_nvlink_up")
    assert up[(uuid, "4")] == 0
    assert up[(uuid, "5")] == 1
    assert node.by_family("paceline_gpu_nvlink_link_errors_total")[(uuid, "5")] == 9
    assert node.by_family("paceline_gpu_nvlink_errors_total")[(uuid, "crc")] == 9 * 18


def test_errors_of_links_that_are_down_outlive_the_child(watch: Watch, driver: Driver) -> None:
    driver.set(values={"nvlink_crc_flit_errors": 10})
    node = watch()
    key = (node.uuids[0], "crc")
    assert node.by_family("paceline_gpu_nvlink_errors_total")[key] == 180
    driver.set(unsupported=[f"field:163:{link}" for link in range(2, 18)])
    first = node.child_pid
    os.kill(first, signal.SIGKILL)
    node.until(lambda: (child := node.source.keeper.child) and child.process.pid != first and child.rounds)
    assert node.by_family("paceline_gpu_nvlink_errors_total")[key] == 180
    links = node.by_family("paceline_gpu_nvlink_link_errors_total")
    assert [labels[1] for labels in links if labels[0] == key[0]] == [str(link) for link in range(18)]


def test_processes_are_counted_and_shared(watch: Watch, driver: Driver, world: World) -> None:
    driver.set(processes=[(0, 10, GIB), (0, 11, 2 * GIB), (4, 12, GIB)])
    node = watch()
    assert node.of("processes") == [2, 0, 0, 0, 1, 0, 0, 0]
    assert set(world.board.gpu_processes or ()) == {
        GpuProcess(node.uuids[0], 10, GIB),
        GpuProcess(node.uuids[0], 11, 2 * GIB),
        GpuProcess(node.uuids[4], 12, GIB),
    }
    assert (world.board.gpus or ())[1] == Gpu(node.uuids[1], 1, "0000:40:00.0")


def test_an_xid_event_is_counted(watch: Watch, driver: Driver) -> None:
    node = watch()
    uuid = node.uuids[2]

    def count() -> float:
        points = node.by_family("paceline_gpu_xid_total")
        return sum(value for labels, value in points.items() if labels[:2] == (uuid, "79"))  # type: ignore[misc]

    assert count() == 0
    driver.xid(2, 79)
    node.until(lambda: count() == 1)


def test_a_gpu_that_cannot_be_opened_is_lost_and_not_missing(watch: Watch, driver: Driver) -> None:
    node = watch()
    driver.set(failing=["nvmlDeviceGetPciInfo_v3"])
    os.kill(node.child_pid, signal.SIGKILL)
    node.until(lambda: node.down)
    assert node.down == dict.fromkeys(node.uuids, "lost")


def test_every_reason_for_a_low_clock_has_a_name(watch: Watch, driver: Driver) -> None:
    driver.set(values={"clocks_event_reasons": 0x100})
    node = watch()
    active = node.by_family("paceline_gpu_throttle_active")
    assert {labels[1] for labels, value in active.items() if value} == {"display_clock_setting"}


def test_xids_of_a_lost_gpu_are_foreseen_also_by_the_next_agent(watch: Watch, driver: Driver) -> None:
    node = watch()
    third = node.uuids[3]
    foreseen = [labels for labels in node.by_family("paceline_gpu_xid_total") if labels[0] == third]
    assert len(foreseen) == len(ALERTED)
    driver.set(lost=[3])
    node.until(lambda: node.down)
    assert set(foreseen) <= node.by_family("paceline_gpu_xid_total").keys()
    node.source.close()
    again = watch()
    again.until(lambda: again.down.keys() == {third})
    assert set(foreseen) <= again.by_family("paceline_gpu_xid_total").keys()


def test_a_child_killed_from_outside_is_replaced(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STALE_SECONDS, "fast", 60.0)
    node = watch()
    first = node.child_pid
    os.kill(first, signal.SIGKILL)
    node.until(lambda: node.counted("child_restarts", "exited") == 1)
    assert node.of("up") == [1] * 8, "what it said is still fresh"
    node.until(lambda: node.source.keeper.child is not None and node.source.keeper.child.rounds)
    assert node.child_pid != first
    assert node.of("up") == [1] * 8


def test_activity_has_no_gap_when_the_child_is_replaced(watch: Watch) -> None:
    node = watch()
    node.until(lambda: node.by_family("paceline_gpu_sm_active_ratio"))
    gaps: list[int] = []

    def has_begun_anew() -> object:
        if node.is_steady:
            gaps.append(node.of("sm_active_ratio").count(None))
        child = node.source.keeper.child
        return child is not None and child.process.pid != first and child.rounds >= 2

    for _ in range(2):
        first = node.child_pid
        os.kill(first, signal.SIGKILL)
        node.until(has_begun_anew)
    assert not any(gaps), "a process's first round has no activity"


@pytest.mark.slow
def test_a_driver_that_is_loaded_after_the_agent_is_missed_and_soon_found(
    watch: Watch, driver: Driver, world: World
) -> None:
    buses = driver.settings.pci_buses
    for bus in buses:
        add_function(world, f"0000:{bus:02x}:00.0", driver="")
    driver.set(mode="not_loaded")
    node = watch()
    node.until(lambda: isinstance(node.samples.problem, OSError))
    assert node.by_family("paceline_gpus_expected") == {(): 8}
    assert node.by_family("paceline_gpus_up") == {(): 0}
    time.sleep(max(BACKOFF_SECONDS))  # it has been tried in vain for a while
    driver.set(mode="healthy")
    began = time.monotonic()
    node.until(lambda: node.uuids and node.of("up") == [1] * 8)
    assert time.monotonic() - began < RARELY_SECONDS / 2
    assert node.of("present") == [1] * 8


def test_a_gpu_that_leaves_the_bus_together_with_the_driver_is_not_present(
    watch: Watch, driver: Driver, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUS_SECONDS", 0.0)
    driver.set(gpus=1)
    add_function(world, "0000:17:00.0", kind="0x060400", driver="pcieport")
    add_function(world, "0000:18:00.0")
    node = watch()
    assert node.of("present") == [1]
    assert node.by_family("paceline_nvml_driver_info")
    shutil.rmtree(world.sysfs / "bus/pci/devices/0000:18:00.0")
    driver.set(gone=[0], mode="not_loaded")
    node.until(lambda: node.of("present") == [0])
    assert node.by_family("paceline_nvml_driver_info") == {}, "there is none any more"
    assert node.by_family("paceline_gpus_expected") == {(): 1}


def test_a_node_without_a_driver_is_no_failure(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    source = GpuSource(world)
    samples = source.sample()
    assert {family.name: dict(points) for family, points in samples.points.items()} == {
        "paceline_nvml_available": {(): 0}
    }
    assert samples.problem is None
    assert source.keeper.child is None
    source.close()


def test_a_driver_without_devices_is_no_failure(watch: Watch, driver: Driver) -> None:
    driver.set(gpus=0)
    node = watch()
    assert node.by_family("paceline_nvml_available") == {(): 1}
    assert node.uuids == []
    assert node.samples.problem is None
