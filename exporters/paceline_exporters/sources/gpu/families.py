"""The families of the gpu source. Device series carry the UUID and at most one label more; names stand in
`paceline_gpu_info`. The child names its readings as the families are named here, without the prefix.

Counters are the driver's own. Energy, throttle time, volatile ECC errors, PCIe and NVLink counters begin at 0
when the driver is loaded or the GPU is reset (nvml.h); aggregate ECC errors are kept by the GPU for life.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...metrics import Family
from .inventory import LABELS

UUID = ("uuid",)


def _gauge(name: str, text: str, unit: str = "", *labels: str) -> Family:
    return Family(f"paceline_gpu_{name}", text, "gauge", unit, (*UUID, *labels))


def _counter(name: str, text: str, unit: str = "", *labels: str) -> Family:
    return Family(f"paceline_gpu_{name}", text, "counter", unit, (*UUID, *labels))


def _ecc() -> Iterator[Family]:
    since = {"volatile": "since the driver was loaded or the GPU reset", "aggregate": "in the GPU's life"}
    for lifetime, text in since.items():
        for error in ("corrected", "uncorrected"):
            yield _counter(f"ecc_{lifetime}_{error}_total", f"{error.title()} ECC errors {text}.", "", "location")


_MEMORY = (
    ("memory_total_bytes", "Device memory."),
    ("memory_reserved_bytes", "Memory that the driver and firmware keep."),
    ("memory_free_bytes", "Memory that can be allocated."),
    ("memory_used_bytes", "Memory allocated, without what is reserved; drivers before 510 count that as used."),
)
_ACTIVITY = (
    ("graphics_active_ratio", "Time in which any graphics or compute engine was busy (GPM)."),
    ("sm_active_ratio", "Multiprocessors that were busy, averaged (GPM)."),
    ("sm_occupancy_ratio", "Warps resident on multiprocessors, of the most there can be (GPM)."),
    ("tensor_active_ratio", "Time in which tensor cores were busy, averaged over multiprocessors (GPM)."),
    ("dram_active_ratio", "Device memory bandwidth used, of the peak (GPM)."),
)
_PIPES = "Time in which a pipe of the multiprocessors was busy, averaged (GPM)."

EXPECTED = _gauge("expected", "1 for each GPU seen since the node booted.")
PRESENT = _gauge("present", "1 while the GPU is on the PCI bus, or listed by NVML where that cannot be seen.")
UP = _gauge("up", "1 while the GPU answers; else its measurements are absent.")
DOWN = Family(
    "paceline_gpu_down_info",
    "Why a GPU is not up: lost (NVML's word, or it cannot be opened), missing (not listed), hung (a call did not "
    "return), driver, stale.",
    "info",
    "",
    (*UUID, "reason"),
)
INFO = Family("paceline_gpu_info", "A GPU seen since the node booted.", "info", "", (*UUID, *LABELS))
GPUS_EXPECTED = Family(
    "paceline_gpus_expected", "GPUs this node should have: seen since boot, or held by the driver.", "gauge"
)
GPUS_UP = Family("paceline_gpus_up", "GPUs that answer.", "gauge")
PROCESSES = _gauge("processes", "Processes that compute on the GPU; with MIG see paceline_mig_processes.")
FABRIC_STATE = _gauge(
    "fabric_state", "NVLink fabric registration: 1 not started, 2 in progress, 3 completed; absent without one."
)

# Name of a reading -> family
GPU: Mapping[str, Family] = {
    family.name.removeprefix("paceline_gpu_"): family
    for family in (
        _gauge("utilization_ratio", "Time in which a kernel ran, whatever part of the GPU it used.", "ratio"),
        _gauge("memory_utilization_ratio", "Time in which device memory was read or written.", "ratio"),
        *(_gauge(name, text, "bytes") for name, text in _MEMORY),
        _gauge("power_watts", "Power draw of the board; on Ampere and newer the mean of a second.", "watts"),
        _gauge("power_instant_watts", "Power draw of the board at the moment.", "watts"),
        _gauge(
            "power_limit_watts",
            "Limits of the power draw: requested, enforced (the lowest that holds), default, minimum, maximum.",
            "watts",
            "limit",
        ),
        _counter("energy_joules_total", "Energy used since the driver was loaded.", "joules"),
        _gauge("temperature_celsius", "Temperature.", "celsius", "sensor"),
        _gauge("temperature_margin_celsius", "Degrees left until the GPU slows down.", "celsius"),
        _gauge(
            "temperature_threshold_celsius", "Temperature at which something happens.", "celsius", "threshold"
        ),
        _gauge("clock_hertz", "Clock.", "hertz", "clock"),
        _gauge("maximum_clock_hertz", "Highest clock.", "hertz", "clock"),
        _gauge("performance_state", "Performance state: 0 is the fastest, 15 the slowest."),
        _gauge("throttle_active", "1 while this holds the clocks down.", "", "reason"),
        _counter("throttle_seconds_total", "Time in which this held the clocks down.", "seconds", "reason"),
        *_ecc(),
        _gauge("retired_pages", "Pages of memory retired, by the kind of error.", "", "error"),
        _gauge("retirement_pending", "1 if pages will be retired at the next reset."),
        _gauge("remapped_rows", "Rows of memory remapped, by the kind of error.", "", "error"),
        _gauge("remap_pending", "1 if rows will be remapped at the next reset."),
        _gauge("remap_failed", "1 if a row could not be remapped: the GPU is to be replaced."),
        _gauge(
            "recovery_action",
            "What the driver asks for: 0 nothing, 1 GPU reset, 2 reboot, 3 drain of peers, 4 drain and reset.",
        ),
        _gauge("pcie_generation", "PCIe generation of the link now; idle links slow down."),
        _gauge("pcie_maximum_generation", "PCIe generation that GPU and slot can both do."),
        _gauge("pcie_width", "PCIe lanes in use."),
        _gauge("pcie_maximum_width", "PCIe lanes that GPU and slot both have."),
        _counter("pcie_replays_total", "PCIe packets sent again."),
        _counter("pcie_errors_total", "PCIe errors.", "", "error"),
        _counter("pcie_bytes_total", "Bytes over PCIe.", "bytes", "direction"),
        _gauge("nvlink_up", "1 while the NVLink is active.", "", "link"),
        _counter("nvlink_bytes_total", "Data bytes over all NVLinks.", "bytes", "direction"),
        _counter("nvlink_errors_total", "Errors of all NVLinks by kind.", "", "error"),
        _counter("nvlink_link_errors_total", "Errors of all kinds by NVLink.", "", "link"),
        *(_gauge(name, text, "ratio") for name, text in _ACTIVITY),
        _gauge("pipe_active_ratio", _PIPES, "ratio", "pipe"),
        _gauge("encoder_utilization_ratio", "Time in which the video encoder was busy.", "ratio"),
        _gauge("decoder_utilization_ratio", "Time in which the video decoder was busy.", "ratio"),
        _gauge("fan_speed_ratio", "Intended fan speed, of the maximum.", "ratio"),
        _gauge("ecc_enabled", "1 if ECC is on."),
        _gauge("ecc_pending_enabled", "1 if ECC is on after the next reset."),
        _gauge("mig_enabled", "1 if MIG is on."),
        _gauge("mig_pending_enabled", "1 if MIG is on after the next reset."),
        _gauge("persistence_enabled", "1 if persistence mode is on."),
        _gauge("compute_mode", "Compute mode: 0 default, 2 prohibited, 3 one process."),
        FABRIC_STATE,
        _gauge("fabric_status", "NVML's return code of the fabric registration: 0 is success."),
        _gauge("fabric_degraded", "1 if the GPU has less NVLink bandwidth than it should."),
    )
}

MIG_INFO = Family("paceline_mig_info", "A MIG instance.", "info", "", (*UUID, "parent", "gi", "ci", "profile"))
MIG_PROCESSES = Family("paceline_mig_processes", "Processes that compute on the MIG instance.", "gauge", "", UUID)
MIG: Mapping[str, Family] = {
    **{
        name: Family(
            f"paceline_mig_{name}", f"Of the MIG instance: {text[0].lower()}{text[1:]}", "gauge", unit, UUID
        )
        for unit, rows in (("bytes", _MEMORY), ("ratio", _ACTIVITY))
        for name, text in rows
    },
    "pipe_active_ratio": Family(
        "paceline_mig_pipe_active_ratio", f"Of the MIG instance: {_PIPES}", "gauge", "ratio", (*UUID, "pipe")
    ),
}

NVML_AVAILABLE = Family("paceline_nvml_available", "1 while NVIDIA's driver answers.", "gauge")
DRIVER_INFO = Family("paceline_nvml_driver_info", "NVIDIA's driver.", "info", "", ("driver", "nvml", "cuda"))
NVML_SECONDS = Family("paceline_nvml_seconds_total", "Time spent in calls of NVML.", "counter", "seconds")
CALL_ERRORS = Family(
    "paceline_nvml_call_errors_total",
    "Calls and fields of NVML that failed, by error: what they read is absent. Not counted is what a GPU does "
    "not support, or that it or the driver is gone.",
    "counter",
    "",
    ("error",),
)
KNOWN_ERRORS = (
    *("unknown", "timeout", "memory", "insufficient_size", "insufficient_resources", "operating_system"),
    *("corrupted_inforom", "in_use", "no_data", "not_ready", "invalid_state"),
)
"""What NVML may say; these are shown from 0 on."""
DEADLINE_MISSES = Family(
    "paceline_nvml_deadline_misses_total",
    "Calls of NVML that did not return in time, by what was being read; the process that made them was killed.",
    "counter",
    "",
    ("group",),
)
RESTARTS = Family(
    "paceline_nvml_child_restarts_total",
    "Processes that own NVML ended: killed for a deadline, by others, for the driver, or to look for a lost GPU.",
    "counter",
    "",
    ("reason",),
)
ABANDONED = Family(
    "paceline_nvml_children_abandoned", "Processes stuck in the driver that SIGKILL has not ended.", "gauge"
)
CHILD_MEMORY = Family(
    "paceline_nvml_child_resident_memory_bytes",
    "Resident memory of the process that owns NVML.",
    "gauge",
    "bytes",
)
CHILD_CPU = Family(
    "paceline_nvml_child_cpu_seconds_total", "CPU time of the processes that own NVML.", "counter", "seconds"
)

FAMILIES: tuple[Family, ...] = (
    *(EXPECTED, PRESENT, UP, DOWN, INFO, GPUS_EXPECTED, GPUS_UP, PROCESSES),
    *GPU.values(),
    *(MIG_INFO, MIG_PROCESSES),
    *MIG.values(),
    *(NVML_AVAILABLE, DRIVER_INFO, NVML_SECONDS, CALL_ERRORS, DEADLINE_MISSES, RESTARTS, ABANDONED),
    *(CHILD_MEMORY, CHILD_CPU),
)
