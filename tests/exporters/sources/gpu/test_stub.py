"""The stand-in for libnvidia-ml.so.1, asked through the real bindings in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nvml_stub import Driver, device_uuid

CLIENT = """
import ctypes, json, sys
import pynvml as n

def gpu(index):
    return n.nvmlDeviceGetHandleByIndex(index)

def mig(index, instance):
    return n.nvmlDeviceGetMigDeviceHandleByIndex(gpu(index), instance)

def fields(index, *wanted):
    return [[f.nvmlReturn, f.value.ullVal] for f in n.nvmlDeviceGetFieldValues(gpu(index), wanted)]

def filled(function, handle, structure):
    function(handle, ctypes.byref(structure))
    return structure

def events(*gpus):
    made, wanted = n.nvmlEventSetCreate(), n.nvmlEventTypeXidCriticalError | n.nvmlEventMigConfigChange
    for index in gpus:
        n.nvmlDeviceRegisterEvents(gpu(index), wanted, made)
    return made

def wait(timeout_ms):
    found = n.nvmlEventSetWait_v2(kept["events"], timeout_ms)
    return [n.nvmlDeviceGetIndex(found.device), found.eventType, found.eventData]

def activity(sampler, handle, *rest):
    request = n.c_nvmlGpmMetricsGet_t(version=n.NVML_GPM_METRICS_GET_VERSION, numMetrics=2)
    request.sample1, request.sample2 = n.nvmlGpmSampleAlloc(), n.nvmlGpmSampleAlloc()
    for sample in (request.sample1, request.sample2):
        sampler(handle, *rest, sample)
    request.metrics[0].metricId, request.metrics[1].metricId = n.NVML_GPM_METRIC_SM_UTIL, 9999
    n.nvmlGpmMetricsGet(request)
    return [[metric.nvmlReturn, metric.value] for metric in request.metrics[:2]]

def plain(value):
    if isinstance(value, ctypes.Structure):
        return {name: getattr(value, name) for name, *_ in value._fields_}
    return value.decode() if isinstance(value, bytes) else getattr(value, "__dict__", None) or list(value)

kept = {}
for line in sys.stdin:
    try:
        answer = [0, eval(line)]
    except n.NVMLError as error:
        answer = [error.value, None]
    print(json.dumps(answer, default=plain), flush=True)
"""
UNINITIALIZED, INVALID, NOT_SUPPORTED, NOT_FOUND, TOO_SMALL, NOT_LOADED = 1, 2, 3, 6, 7, 9
TIMEOUT, FUNCTION_NOT_FOUND, LOST, MISMATCH, WRONG_VERSION, UNKNOWN = 10, 13, 15, 18, 25, 999
MIB = 1 << 20


class Client:
    """A process with NVML initialised."""

    def __init__(self, driver: Driver) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLIENT],
            env={**os.environ, **driver.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self, expression: str) -> None:
        """Ask without waiting for the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()

    def answer(self) -> list[Any]:
        """[NVML's result code, value]."""
        assert self.process.stdout is not None
        return list(json.loads(self.process.stdout.readline()))

    def ask(self, expression: str) -> Any:
        """The value of the expression, which must succeed."""
        code, value = self._both(expression)
        assert code == 0, f"{expression}: NVML error {code}"
        return value

    def error(self, expression: str) -> int:
        """NVML's result code."""
        return int(self._both(expression)[0])

    def _both(self, expression: str) -> list[Any]:
        self.begin(expression)
        return self.answer()


@pytest.fixture
def client(driver: Driver) -> Iterator[Client]:
    client = Client(driver)
    client.ask("n.nvmlInit()")
    yield client
    client.process.kill()
    client.process.communicate()


def test_eight_gpus_by_index_uuid_and_address(client: Client) -> None:
    assert client.ask("n.nvmlDeviceGetCount()") == 8
    uuids = client.ask("[n.nvmlDeviceGetUUID(gpu(i)) for i in range(8)]")
    assert len(set(uuids)) == 8
    assert uuids == [device_uuid(i) for i in range(8)]
    assert client.ask(f"n.nvmlDeviceGetIndex(n.nvmlDeviceGetHandleByUUID('{uuids[5]}'))") == 5
    assert client.ask("n.nvmlDeviceGetPciInfo(gpu(5))")["busId"] == "00000000:C0:00.0"
    assert client.ask("n.nvmlDeviceGetIndex(n.nvmlDeviceGetHandleByPciBusId('0000:c0:00.0'))") == 5
    assert client.error("gpu(8)") == INVALID
    assert client.error("n.nvmlDeviceGetHandleByUUID('GPU-none')") == NOT_FOUND


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("n.nvmlSystemGetDriverVersion()", "580.95.05"),
        ("n.nvmlSystemGetCudaDriverVersion_v2()", 13000),
        ("n.nvmlDeviceGetName(gpu(2))", "NVIDIA H100 80GB HBM3"),
        ("n.nvmlDeviceGetSerial(gpu(2))", "1653523000002"),
        ("n.nvmlDeviceGetMinorNumber(gpu(2))", 2),
        ("n.nvmlDeviceGetArchitecture(gpu(2))", 9),
        ("n.nvmlDeviceGetCudaComputeCapability(gpu(2))", [9, 0]),
        ("n.nvmlDeviceGetUtilizationRates(gpu(2))", {"gpu": 79, "memory": 36}),
        ("n.nvmlDeviceGetEncoderUtilization(gpu(2))", [0, 166666]),
        (
            "n.nvmlDeviceGetMemoryInfo(gpu(2))",
            {"total": 81559 * MIB, "free": 19808 * MIB, "used": 61751 * MIB},
        ),
        (
            "n.nvmlDeviceGetMemoryInfo(gpu(2), n.nvmlMemory_v2)",
            {
                "version": 0x02000028,
                "total": 81559 * MIB,
                "reserved": 551 * MIB,
                "free": 19808 * MIB,
                "used": 61200 * MIB,
            },
        ),
        (
            "n.nvmlDeviceGetBAR1MemoryInfo(gpu(2))",
            {"bar1Total": 131072 * MIB, "bar1Free": 131067 * MIB, "bar1Used": 5 * MIB},
        ),
        ("n.nvmlDeviceGetEnforcedPowerLimit(gpu(2))", 700000),
        ("n.nvmlDeviceGetPowerManagementLimitConstraints(gpu(2))", [200000, 700000]),
        ("n.nvmlDeviceGetTotalEnergyConsumption(gpu(2))", 52200000),
        ("n.nvmlDeviceGetTemperature(gpu(2), 0)", 50),
        ("n.nvmlDeviceGetTemperatureV(gpu(2), 0)", 50),
        ("n.nvmlDeviceGetTemperatureThreshold(gpu(2), 1)", 89),
        ("n.nvmlDeviceGetMarginTemperature(gpu(2))", 28),
        ("n.nvmlDeviceGetClockInfo(gpu(2), n.NVML_CLOCK_MEM)", 2619),
        ("n.nvmlDeviceGetMaxClockInfo(gpu(2), n.NVML_CLOCK_SM)", 1980),
        ("n.nvmlDeviceGetClock(gpu(2), n.NVML_CLOCK_VIDEO, n.NVML_CLOCK_ID_CUSTOMER_BOOST_MAX)", 1545),
        ("n.nvmlDeviceGetPerformanceState(gpu(2))", 0),
        ("n.nvmlDeviceGetSupportedClocksEventReasons(gpu(2))", 0x1FF),
        ("n.nvmlDeviceGetViolationStatus(gpu(2), 0)", {"referenceTime": 10**8, "violationTime": 2100000000}),
        ("n.nvmlDeviceGetEccMode(gpu(2))", [1, 1]),
        ("n.nvmlDeviceGetTotalEccErrors(gpu(2), 0, 1)", 19),
        ("n.nvmlDeviceGetMemoryErrorCounter(gpu(2), 0, 1, n.NVML_MEMORY_LOCATION_SRAM)", 2),
        ("n.nvmlDeviceGetRetiredPages(gpu(2), 1)", []),
        ("n.nvmlDeviceGetRemappedRows(gpu(2))", [0, 0, 0, 0]),
        (
            "n.nvmlDeviceGetRowRemapperHistogram(gpu(2))",
            {"max": 640, "high": 0, "partial": 0, "low": 0, "none": 0},
        ),
        ("n.nvmlDeviceGetCurrPcieLinkGeneration(gpu(2))", 5),
        ("n.nvmlDeviceGetPcieReplayCounter(gpu(2))", 2),
        ("n.nvmlDeviceGetPcieThroughput(gpu(2), n.NVML_PCIE_UTIL_RX_BYTES)", 2400000),
        ("n.nvmlDeviceGetNvLinkState(gpu(2), 17)", 1),
        ("n.nvmlDeviceGetNvLinkErrorCounter(gpu(2), 0, n.NVML_NVLINK_ERROR_DL_CRC_FLIT)", 2),
        ("n.nvmlDeviceGetNvLinkRemotePciInfo(gpu(2), 5).busId", "00000000:08:00.0"),
        ("n.nvmlDeviceGetNvLinkRemoteDeviceType(gpu(2), 1)", 2),
        ("n.nvmlDeviceGetComputeRunningProcesses_v3(gpu(2))", []),
        ("n.nvmlDeviceGetNumFans(gpu(2))", 0),
        ("n.nvmlDeviceGetMigMode(gpu(2))", [0, 0]),
        ("n.nvmlDeviceGetNumaNodeId(gpu(2))", 0),
        ("n.nvmlDeviceGetCpuAffinity(gpu(6), 2)", [0xFF00, 0]),
        ("n.nvmlDeviceGetTopologyCommonAncestor(gpu(2), gpu(6))", 50),
        ("fields(2, 83)", [[0, 52200000]]),
        ("fields(2, (138, 5), (138, 0xffffffff))", [[0, 544455555], [0, 9800200000]]),
        ("fields(2, (163, 17), (163, 18), 91, 230, 999)", [[0, 2], [INVALID, 0], [0, 18], [0, 0], [3, 0]]),
    ],
)
def test_values(driver: Driver, client: Client, expression: str, expected: object) -> None:
    driver.set(seconds=100.0)
    assert client.ask(expression) == expected


def test_versioned_structures(driver: Driver, client: Client) -> None:
    driver.set(seconds=10.0, ecc_storm=[1])
    sram = client.ask("filled(n.nvmlDeviceGetSramEccErrorStatus, gpu(1), n.c_nvmlEccSramErrorStatus_v1_t())")
    assert (sram["volatileCor"], sram["aggregateCor"], sram["bThresholdExceeded"]) == (100, 102, 0)
    for version in (2, 3):
        fabric = client.ask(
            f"filled(n.nvmlDeviceGetGpuFabricInfoV, gpu(1), n.c_nvmlGpuFabricInfo_v{version}_t())"
        )
        assert (fabric["state"], fabric["cliqueId"], fabric["healthMask"]) == (3, 0, 2)
    assert client.ask("n.nvmlGpmQueryDeviceSupport(gpu(1))")["isSupportedDevice"] == 1
    assert client.error("n.nvmlDeviceGetMemoryInfo(gpu(1), 0x03000028)") == WRONG_VERSION
    wrong = "n.c_nvmlEccSramErrorStatus_v1_t"
    assert client.error(f"filled(n.nvmlDeviceGetGpuFabricInfoV, gpu(1), {wrong}())") == WRONG_VERSION


def test_a_buffer_that_is_too_small_is_left_alone(driver: Driver, client: Client) -> None:
    name = "n.nvmlLib.nvmlDeviceGetName(gpu(0), (buffer := ctypes.create_string_buffer(8)), 8)"
    assert client.ask(f"[{name}, buffer.value]") == [TOO_SMALL, ""]
    driver.set(processes=[(0, 41, 3 * MIB), (0, 42, 5 * MIB), (1, 43, 0)])
    call = "n.nvmlLib.nvmlDeviceGetComputeRunningProcesses_v3"
    assert client.ask(f"[{call}(gpu(0), ctypes.byref(c := ctypes.c_uint(1)), None), c.value]") == [TOO_SMALL, 2]


def test_processes_come_and_go(driver: Driver, client: Client) -> None:
    driver.set(processes=[(0, 41, 3 * MIB), (0, 42, 5 * MIB), (1, 43, 0)])
    found = client.ask("n.nvmlDeviceGetComputeRunningProcesses_v3(gpu(0))")
    assert [(one["pid"], one["usedGpuMemory"]) for one in found] == [(41, 3 * MIB), (42, 5 * MIB)]
    assert [one["smUtil"] for one in client.ask("n.nvmlDeviceGetProcessUtilization(gpu(1), 0)")]
    driver.set(processes=[])
    assert client.ask("n.nvmlDeviceGetComputeRunningProcesses_v3(gpu(0))") == []


def test_counters_rise_with_time(driver: Driver, client: Client) -> None:
    driver.set(seconds=None)
    first = client.ask("n.nvmlDeviceGetTotalEnergyConsumption(gpu(0))")
    time.sleep(0.01)
    assert client.ask("n.nvmlDeviceGetTotalEnergyConsumption(gpu(0))") > first


def test_a_reading_is_replaced_on_one_gpu_or_all(driver: Driver, client: Client) -> None:
    driver.set(values={"power": {3: 99000}, "fans": 2, "fan_speed": 55})
    assert client.ask("n.nvmlDeviceGetPowerUsage(gpu(3))") == 99000
    assert client.ask("n.nvmlDeviceGetPowerUsage(gpu(4))") > 400000
    assert client.ask("n.nvmlDeviceGetFanSpeed_v2(gpu(0), 1)") == 55


def test_no_driver(driver: Driver, client: Client) -> None:
    driver.set(mode="not_loaded")
    assert client.error("n.nvmlDeviceGetCount()") == NOT_LOADED
    assert client.error("n.nvmlInit()") == NOT_LOADED
    driver.healthy()
    assert client.error("n.nvmlDeviceGetCount()") == UNINITIALIZED
    assert client.ask("n.nvmlInit()") is None
    assert client.ask("n.nvmlDeviceGetCount()") == 8


def test_another_driver_than_the_library_was_made_for(driver: Driver, client: Client) -> None:
    driver.set(mode="mismatch")
    assert client.error("n.nvmlDeviceGetCount()") == UNINITIALIZED
    assert client.error("n.nvmlInit()") == MISMATCH


def test_a_reload_loses_handles_and_counts_anew(driver: Driver, client: Client) -> None:
    driver.set(values={"energy": 10**12})
    client.ask("kept.update(old=gpu(0))")
    driver.reload()
    assert client.error("n.nvmlDeviceGetPowerUsage(kept['old'])") == UNINITIALIZED
    client.ask("n.nvmlInit()")
    assert client.error("n.nvmlDeviceGetPowerUsage(kept['old'])") == LOST
    driver.set(values={})
    assert client.ask("n.nvmlDeviceGetTotalEnergyConsumption(gpu(0))") < 10**9


def test_a_lost_gpu_still_counts(driver: Driver, client: Client) -> None:
    client.ask("kept.update(third=gpu(3))")
    driver.set(lost=[3])
    assert client.ask("n.nvmlDeviceGetCount()") == 8
    assert client.error("gpu(3)") == LOST
    assert client.error("n.nvmlDeviceGetTemperature(kept['third'], 0)") == LOST
    assert client.ask("n.nvmlDeviceGetPowerUsage(gpu(4))")


def test_a_gpu_off_the_bus_moves_the_others_up(driver: Driver, client: Client) -> None:
    uuids = client.ask("[n.nvmlDeviceGetUUID(gpu(i)) for i in range(8)]")
    client.ask("kept.update(third=gpu(3))")
    driver.set(gone=[3])
    assert client.ask("n.nvmlDeviceGetCount()") == 7
    assert client.error("n.nvmlDeviceGetPowerUsage(kept['third'])") == LOST
    assert client.ask("n.nvmlDeviceGetUUID(gpu(3))") == uuids[4]
    assert client.error(f"n.nvmlDeviceGetHandleByUUID('{uuids[3]}')") == NOT_FOUND


def test_unsupported_functions_and_fields(driver: Driver, client: Client) -> None:
    driver.set(unsupported=["nvmlDeviceGetPowerUsage", "field:83"])
    assert client.error("n.nvmlDeviceGetPowerUsage(gpu(0))") == NOT_SUPPORTED
    assert client.ask("[code for code, value in fields(0, 83, 230)]") == [NOT_SUPPORTED, 0]


def test_failing_functions_and_fields(driver: Driver, client: Client) -> None:
    driver.set(failing=["nvmlDeviceGetPowerUsage", "field:83"], unsupported=["field:163:4"])
    assert client.error("n.nvmlDeviceGetPowerUsage(gpu(0))") == UNKNOWN
    assert client.ask("[code for code, value in fields(0, 83, (163, 3), (163, 4))]") == [
        UNKNOWN,
        0,
        NOT_SUPPORTED,
    ]


def test_an_older_library_lacks_functions(tmp_path: Path, nvml_library: Path) -> None:
    old = Driver(tmp_path, builds=nvml_library, absent=["nvmlDeviceGetGpuFabricInfoV"])
    client = Client(old)
    client.ask("n.nvmlInit()")
    call = "filled(n.nvmlDeviceGetGpuFabricInfoV, gpu(0), n.c_nvmlGpuFabricInfo_v3_t())"
    assert client.error(call) == FUNCTION_NOT_FOUND
    assert client.ask("n.nvmlDeviceGetPowerUsage(gpu(0))")
    client.process.kill()
    client.process.communicate()


def test_mig_instances(driver: Driver, client: Client) -> None:
    driver.set(mig=[1])
    assert client.ask("n.nvmlDeviceGetMigMode(gpu(1))") == [1, 1]
    assert client.ask("n.nvmlDeviceGetMaxMigDeviceCount(gpu(1))") == 7
    uuids = client.ask("[n.nvmlDeviceGetUUID(mig(1, i)) for i in range(2)]")
    assert uuids == [device_uuid(1, instance) for instance in range(2)]
    assert client.error("mig(1, 2)") == NOT_FOUND
    assert client.error("mig(0, 0)") == NOT_FOUND
    assert client.ask("[n.nvmlDeviceGetGpuInstanceId(mig(1, i)) for i in range(2)]") == [1, 2]
    assert client.ask("n.nvmlDeviceGetComputeInstanceId(mig(1, 1))") == 0
    assert client.ask("n.nvmlDeviceGetMemoryInfo(mig(1, 0))")["total"] == 81559 * MIB // 2
    attributes = client.ask("n.nvmlDeviceGetAttributes_v2(mig(1, 0))")
    assert (attributes["gpuInstanceSliceCount"], attributes["memorySizeMB"]) == (3, 40779)
    parent = "n.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig(1, 1))"
    assert client.ask(f"n.nvmlDeviceGetIndex({parent})") == 1
    assert client.ask(f"n.nvmlDeviceGetName(n.nvmlDeviceGetHandleByUUID('{uuids[1]}'))").endswith("MIG 2g.20gb")
    assert client.error("n.nvmlDeviceGetUtilizationRates(gpu(1))") == NOT_SUPPORTED
    assert client.error("n.nvmlDeviceGetTemperature(mig(1, 0), 0)") == NOT_SUPPORTED


def test_gpm_of_gpus_and_instances(driver: Driver, client: Client) -> None:
    driver.set(mig=[1], values={"gpm_sm": 66})
    assert client.ask("activity(n.nvmlGpmSampleGet, gpu(0))") == [[0, 66.0], [NOT_SUPPORTED, 0.0]]
    assert client.ask("activity(n.nvmlGpmMigSampleGet, gpu(1), 2)") == [[0, 66.0], [NOT_SUPPORTED, 0.0]]
    assert client.error("activity(n.nvmlGpmMigSampleGet, gpu(0), 2)") == INVALID
    driver.set(values={"gpm_supported": 0})
    assert client.error("activity(n.nvmlGpmSampleGet, gpu(0))") == NOT_SUPPORTED


def test_an_ecc_storm(driver: Driver, client: Client) -> None:
    driver.set(ecc_storm=[2], seconds=60.0)
    assert client.ask("n.nvmlDeviceGetTotalEccErrors(gpu(2), 0, 0)") == 60600
    assert client.ask("n.nvmlDeviceGetTotalEccErrors(gpu(2), 1, 0)") == 60
    assert client.ask("n.nvmlDeviceGetTotalEccErrors(gpu(3), 0, 0)") == 0


def test_an_xid_is_delivered_once_to_who_is_registered(driver: Driver, client: Client) -> None:
    driver.xid(0, 43)
    client.ask("kept.update(events=events(0, 3))")
    assert client.error("wait(0)") == TIMEOUT
    driver.xid(3, 79)
    driver.xid(5, 31)
    driver.xid(3, 94)
    assert [client.ask("wait(5000)") for _ in range(2)] == [[3, 8, 79], [3, 8, 94]]
    assert client.error("wait(0)") == TIMEOUT
    driver.set(lost=[3])
    assert client.error("wait(5000)") == LOST


def test_a_change_of_mig_mode_is_an_event(driver: Driver, client: Client) -> None:
    client.ask("kept.update(events=events(0, 1))")
    driver.set(mig=[1])
    assert client.ask("wait(5000)") == [1, 0x100, 0]
    assert client.error("wait(0)") == TIMEOUT


def test_waiting_for_events_lets_others_in(driver: Driver, client: Client) -> None:
    client.ask("kept.update(events=events(0))")
    client.begin("wait(60000)")
    later = threading.Timer(0.1, driver.xid, (0, 79))
    later.start()
    assert client.answer() == [0, [0, 8, 79]]
    later.join()


def test_a_slow_function(driver: Driver, client: Client) -> None:
    driver.set(slow="nvmlDeviceGetPowerUsage", slow_ms=150)
    began = time.monotonic()
    client.ask("n.nvmlDeviceGetPowerUsage(gpu(0))")
    assert time.monotonic() - began >= 0.15


@pytest.mark.parametrize("function", ["nvmlDeviceGetPowerUsage", "*"])
def test_a_hang_ends_with_its_setting(driver: Driver, client: Client, function: str) -> None:
    client.ask("kept.update(first=gpu(0))")
    driver.set(hang=function)
    client.begin("n.nvmlDeviceGetPowerUsage(kept['first'])")
    with pytest.raises(subprocess.TimeoutExpired):
        client.process.wait(timeout=0.2)
    driver.healthy()
    code, power = client.answer()
    assert (code, power > 400000) == (0, True)


def test_a_process_that_hangs_can_be_killed(driver: Driver, client: Client) -> None:
    driver.set(hang="*")
    client.begin("n.nvmlDeviceGetCount()")
    client.process.send_signal(signal.SIGKILL)
    assert client.process.wait(timeout=60) == -signal.SIGKILL


def test_settings_that_make_no_sense_are_refused(driver: Driver) -> None:
    with pytest.raises(TypeError):
        driver.set(gremlins=3)
    with pytest.raises(ValueError, match="no such readings: pover"):
        driver.set(values={"pover": 3})
    with pytest.raises(ValueError, match="gpus: 17"):
        driver.set(gpus=17)
