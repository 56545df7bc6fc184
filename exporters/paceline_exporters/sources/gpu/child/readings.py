"""What is asked of each GPU, as tables: the call or field, and the name and unit of what comes back.

Numbers are those of nvml.h, whose names stand beside them: they are its binary interface. Names are the metric
families' without their prefix, values are in their units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .nvml import ALL_LINKS, NO_VALUE, Scoped

Value = float | None
Found = tuple[str, str, Value]
"""Name, label (empty where the family has none), value."""
Take = Callable[[Any], Iterator[Found]]

MOST_LINKS = 18
"""NVLinks of a GPU: 18 on Hopper and Blackwell, 12 on Ampere, 6 on Volta."""
_NO_VALUES = frozenset({NO_VALUE, 2**32 - 1})
"""What stands for *unknown* in 64 and in 32 bits."""
_UNKNOWN_PERFORMANCE_STATE = 32


class Call(NamedTuple):  # not a dataclass: that module is 1.3 MiB of the child's memory
    """One function of NVML, asked of a GPU."""

    function: str
    take: Take
    arguments: tuple[int, ...] = ()


class Field(NamedTuple):
    """One value of the batch nvmlDeviceGetFieldValues; several fields are those of link 0, 1 and so on, which the
    agent adds up. Of several rows of one name and label, the first counts that the driver knows."""

    name: str
    label: str
    fields: Sequence[Scoped]
    times: int = 1
    per: int = 1
    least_driver: int = 0
    """Major version from which on the id means this."""


def one(name: str, label: str = "", times: int = 1, per: int = 1, of: str | int | None = None) -> Take:
    """A single value: the result, or its attribute or item `of`, converted."""

    def take(result: Any) -> Iterator[Found]:
        value = result if of is None else getattr(result, of) if isinstance(of, str) else result[of]
        yield name, label, None if value in _NO_VALUES else scaled(value, times, per)

    return take


def scaled(value: float, times: int, per: int) -> float:
    """A value in base units; whole numbers stay whole where they can."""
    return value * times if per == 1 else value * times / per


def several(*takes: Take) -> Take:
    """All values of one result."""

    def take(result: Any) -> Iterator[Found]:
        for each in takes:
            yield from each(result)

    return take


def _reasons(bits: int) -> Iterator[Found]:
    for bit, reason in THROTTLE_BITS.items():
        yield "throttle_active", reason, int(bits & bit != 0)


def _performance_state(state: int) -> Iterator[Found]:
    yield "performance_state", "", None if state == _UNKNOWN_PERFORMANCE_STATE else state


def _every_link(field: int) -> Sequence[Scoped]:
    return [(field, link) for link in range(MOST_LINKS)]


# nvmlClocksEventReason*. Idle, application and display clocks are no throttling, but say why a clock is low.
THROTTLE_BITS = {
    0x001: "gpu_idle",
    0x002: "applications_clocks",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal",
    0x040: "hw_thermal",
    0x080: "hw_power_brake",
    0x100: "display_clock_setting",
}
_REASONS = Call("nvmlDeviceGetCurrentClocksEventReasons", _reasons)
_CLOCKS = {"graphics": 0, "sm": 1, "memory": 2, "video": 3}
_MEGA = 1_000_000
_NANO = 1_000_000_000

FAST_CALLS: Sequence[Sequence[Call]] = (
    (
        Call(
            "nvmlDeviceGetUtilizationRates",
            several(
                one("utilization_ratio", per=100, of="gpu"),
                one("memory_utilization_ratio", per=100, of="memory"),
            ),
        ),
    ),
    (Call("nvmlDeviceGetPowerUsage", one("power_watts", per=1000)),),
    (Call("nvmlDeviceGetTotalEnergyConsumption", one("energy_joules_total", per=1000)),),
    (Call("nvmlDeviceGetTemperature", one("temperature_celsius", "gpu"), (0,)),),
    *(
        (Call("nvmlDeviceGetClockInfo", one("clock_hertz", clock, _MEGA), (number,)),)
        for clock, number in _CLOCKS.items()
    ),
    (Call("nvmlDeviceGetPerformanceState", _performance_state),),
    (_REASONS, Call("nvmlDeviceGetCurrentClocksThrottleReasons", _reasons)),
)
"""In each row, the next is asked where the driver lacks the one before."""

FAST_FIELDS: Sequence[Field] = (
    Field("power_instant_watts", "", [(186, 0)], per=1000),  # POWER_INSTANT
    Field("temperature_celsius", "memory", [(82, 0)]),  # MEMORY_TEMP
    # CLOCKS_EVENT_REASON_*: nanoseconds. The ids from 251 on meant other things in drivers before 570.
    Field("throttle_seconds_total", "sw_power_cap", [(74, 0)], per=_NANO),
    Field("throttle_seconds_total", "sync_boost", [(76, 0)], per=_NANO),
    Field("throttle_seconds_total", "sw_thermal", [(269, 0)], per=_NANO, least_driver=570),
    Field("throttle_seconds_total", "hw_thermal", [(270, 0)], per=_NANO, least_driver=570),
    Field("throttle_seconds_total", "hw_power_brake", [(271, 0)], per=_NANO, least_driver=570),
    # PERF_POLICY_*: nanoseconds too.
    Field("throttle_seconds_total", "thermal", [(75, 0)], per=_NANO),
    Field("throttle_seconds_total", "board_limit", [(77, 0)], per=_NANO),
    Field("throttle_seconds_total", "low_utilization", [(78, 0)], per=_NANO),
    Field("throttle_seconds_total", "reliability", [(79, 0)], per=_NANO),
    Field("pcie_bytes_total", "transmit", [(197, 0)]),  # PCIE_COUNT_TX_BYTES
    Field("pcie_bytes_total", "receive", [(198, 0)]),  # PCIE_COUNT_RX_BYTES
    *(
        Field("nvlink_bytes_total", direction, fields, times)
        for direction, throughput, count in (("transmit", 138, 202), ("receive", 139, 204))
        for fields, times in (
            ([(throughput, ALL_LINKS)], 1024),  # NVLINK_THROUGHPUT_DATA_TX and _RX: KiB
            (_every_link(throughput), 1024),
            (_every_link(count), 1),  # NVLINK_COUNT_XMIT_BYTES and _RCV_BYTES, from NVLink 5 on
        )
    ),
)

_VIOLATIONS = {
    "sw_power_cap": 0,
    "thermal": 1,
    "sync_boost": 2,
    "board_limit": 3,
    "low_utilization": 4,
    "reliability": 5,
}
VIOLATION_CALLS: Sequence[Sequence[Call]] = tuple(
    (
        Call(
            "nvmlDeviceGetViolationStatus",
            one("throttle_seconds_total", reason, per=_NANO, of="violationTime"),
            (policy,),
        ),
    )
    for reason, policy in _VIOLATIONS.items()
)
"""For drivers that do not have the fields. nvmlViolationTime_t: nanoseconds."""

# nvmlMemoryLocation_t; nvmlMemoryErrorType_t; nvmlEccCounterType_t
_LOCATIONS = {
    "l1": 0,
    "l2": 1,
    "dram": 2,
    "register_file": 3,
    "texture": 4,
    "texture_shared": 5,
    "cbu": 6,
    "sram": 7,
}
_ECC = [
    (f"ecc_{lifetime}_{error}_total", kind, counter)
    for counter, lifetime in enumerate(("volatile", "aggregate"))
    for kind, error in enumerate(("corrected", "uncorrected"))
]
_LIMITS = {
    "requested": "nvmlDeviceGetPowerManagementLimit",
    "enforced": "nvmlDeviceGetEnforcedPowerLimit",
    "default": "nvmlDeviceGetPowerManagementDefaultLimit",
}
_THRESHOLDS = {"shutdown": 0, "slowdown": 1, "memory_max": 2, "gpu_max": 3}
_PCIE_LINK = {
    "pcie_generation": "nvmlDeviceGetCurrPcieLinkGeneration",
    "pcie_maximum_generation": "nvmlDeviceGetMaxPcieLinkGeneration",
    "pcie_width": "nvmlDeviceGetCurrPcieLinkWidth",
    "pcie_maximum_width": "nvmlDeviceGetMaxPcieLinkWidth",
    "pcie_replays_total": "nvmlDeviceGetPcieReplayCounter",
}

SLOW_CALLS: Sequence[Sequence[Call]] = (
    *(
        (Call("nvmlDeviceGetMemoryErrorCounter", one(name, location), (kind, counter, place)),)
        for name, kind, counter in _ECC
        for location, place in _LOCATIONS.items()
    ),
    (
        Call(
            "nvmlDeviceGetRemappedRows",
            several(
                one("remapped_rows", "corrected", of=0),
                one("remapped_rows", "uncorrected", of=1),
                one("remap_pending", of=2),
                one("remap_failed", of=3),
            ),
        ),
    ),
    *((Call(function, one(name)),) for name, function in _PCIE_LINK.items()),
    (Call("nvmlDeviceGetEncoderUtilization", one("encoder_utilization_ratio", per=100, of=0)),),
    (Call("nvmlDeviceGetDecoderUtilization", one("decoder_utilization_ratio", per=100, of=0)),),
    (Call("nvmlDeviceGetFanSpeed", one("fan_speed_ratio", per=100)),),
    (Call("nvmlDeviceGetMarginTemperature", one("temperature_margin_celsius")),),
    *((Call(function, one("power_limit_watts", limit, per=1000)),) for limit, function in _LIMITS.items()),
    *((Call("nvmlDeviceGetNvLinkState", one("nvlink_up", str(n)), (n,)),) for n in range(MOST_LINKS)),
    (
        Call(
            "nvmlDeviceGetEccMode",
            several(one("ecc_enabled", of=0), one("ecc_pending_enabled", of=1)),
        ),
    ),
    (
        Call(
            "nvmlDeviceGetMigMode",
            several(one("mig_enabled", of=0), one("mig_pending_enabled", of=1)),
        ),
    ),
)

RARE_CALLS: Sequence[Sequence[Call]] = (
    (
        Call(
            "nvmlDeviceGetPowerManagementLimitConstraints",
            several(
                one("power_limit_watts", "minimum", per=1000, of=0),
                one("power_limit_watts", "maximum", per=1000, of=1),
            ),
        ),
    ),
    *(
        (Call("nvmlDeviceGetTemperatureThreshold", one("temperature_threshold_celsius", name), (number,)),)
        for name, number in _THRESHOLDS.items()
    ),
    *(
        (Call("nvmlDeviceGetMaxClockInfo", one("maximum_clock_hertz", clock, _MEGA), (number,)),)
        for clock, number in _CLOCKS.items()
    ),
    (Call("nvmlDeviceGetPersistenceMode", one("persistence_enabled")),),
    (Call("nvmlDeviceGetComputeMode", one("compute_mode")),),
)
"""What changes by an administrator's hand at most."""


def _lanes(*starts: tuple[int, int]) -> Sequence[Scoped]:
    """Ids of their own for each six links, as older drivers have them."""
    return [(first + link, 0) for first, links in starts for link in range(links)]


# Error of an NVLink -> the fields of its links, newer first.
_LINK_ERRORS: Mapping[str, Sequence[Sequence[Scoped]]] = {
    "replay": (_every_link(161), _lanes((46, 6), (108, 6))),  # NVLINK_ERROR_DL_REPLAY, NVLINK_REPLAY_ERROR_COUNT
    "recovery": (_every_link(162), _lanes((53, 6), (114, 6))),  # _DL_RECOVERY, NVLINK_RECOVERY_ERROR_COUNT
    "crc": (_every_link(163), _lanes((32, 6), (96, 6))),  # _DL_CRC, NVLINK_CRC_FLIT_ERROR_COUNT
    "ecc": (_lanes((148, 12)),),  # NVLINK_ECC_DATA_ERROR_COUNT
    # NVLINK_COUNT_*, from NVLink 5 on
    "malformed_packet": (_every_link(206),),
    "buffer_overrun": (_every_link(207),),
    "receive": (_every_link(208),),
    "receive_remote": (_every_link(209),),
    "local_integrity": (_every_link(211),),
    "transmit_discard": (_every_link(212),),
    "recovery_failed": (_every_link(214),),
    "symbol": (_every_link(221),),
}

SLOW_FIELDS: Sequence[Field] = (
    Field("retired_pages", "corrected", [(29, 0)]),  # RETIRED_SBE
    Field("retired_pages", "uncorrected", [(30, 0)]),  # RETIRED_DBE
    Field("retirement_pending", "", [(31, 0)]),  # RETIRED_PENDING
    Field("recovery_action", "", [(230, 0)]),  # GET_GPU_RECOVERY_ACTION
    Field("pcie_errors_total", "correctable", [(173, 0)]),  # PCIE_COUNT_CORRECTABLE_ERRORS
    Field("pcie_errors_total", "non_fatal", [(179, 0)]),  # PCIE_COUNT_NON_FATAL_ERROR
    Field("pcie_errors_total", "fatal", [(180, 0)]),  # PCIE_COUNT_FATAL_ERROR
)

RARE_FIELDS: Sequence[Field] = tuple(
    Field("nvlink_errors_total", error, fields) for error, choices in _LINK_ERRORS.items() for fields in choices
)
"""Up to 200 fields a GPU: too many for more often."""

# NVML_GPM_METRIC_*: percent of the time, or of the maximum.
GPM_METRICS: Mapping[int, tuple[str, str]] = {
    1: ("graphics_active_ratio", ""),
    2: ("sm_active_ratio", ""),
    3: ("sm_occupancy_ratio", ""),
    5: ("tensor_active_ratio", ""),
    10: ("dram_active_ratio", ""),
    4: ("pipe_active_ratio", "integer"),
    6: ("pipe_active_ratio", "tensor_dfma"),
    7: ("pipe_active_ratio", "tensor_hmma"),
    8: ("pipe_active_ratio", "tensor_dmma"),
    9: ("pipe_active_ratio", "tensor_imma"),
    11: ("pipe_active_ratio", "fp64"),
    12: ("pipe_active_ratio", "fp32"),
    13: ("pipe_active_ratio", "fp16"),
}
