"""The Node dashboard's GPUs."""

from __future__ import annotations

from .devices import GPU, by_index, here
from .panels import RATE, Panel, Query

EACH = "GPU {{index}}"
ENFORCED = 'limit="enforced"'
SM = 'clock="sm"'


def _rate(metric: str, *matchers: str) -> str:
    return f"rate({here(metric, *matchers)}[{RATE}])"


def _health(title: str, expression: str) -> Query:
    """A column of the table of health."""
    return Query(f"max by (index) ({by_index(expression)})", title)


def _sum(expression: str) -> str:
    return f"sum by ({GPU}) ({expression})"


ACTIVITY = tuple(
    Panel(title, text, [Query(by_index(here(metric)), EACH)], "percentunit", width=6)
    for title, metric, text in (
        (
            "Utilisation",
            "paceline_gpu_utilization_ratio",
            "Time in which any kernel ran, however small: a collective that waits counts as full use. n/a under "
            "MIG.",
        ),
        (
            "Multiprocessors active",
            "paceline_gpu_sm_active_ratio",
            "Share of the multiprocessors that were busy. Needs Hopper or newer; n/a elsewhere.",
        ),
        (
            "Tensor cores active",
            "paceline_gpu_tensor_active_ratio",
            "Time in which tensor cores were busy: what training pays for. Needs Hopper or newer; n/a elsewhere.",
        ),
        (
            "Memory bandwidth in use",
            "paceline_gpu_dram_active_ratio",
            "Of the device memory's peak. Needs Hopper or newer; n/a elsewhere.",
        ),
    )
)

GPUS = (
    *ACTIVITY,
    Panel(
        "Power draw",
        "Of the board, and the lowest limit that holds. Full utilisation at a low draw is waiting, not work.",
        [
            Query(by_index(here("paceline_gpu_power_watts")), EACH),
            Query(f"max({here('paceline_gpu_power_limit_watts', ENFORCED)})", "limit"),
        ],
        "watt",
    ),
    Panel(
        "Temperature",
        "Of the chip and of its memory; n/a where there is no sensor.",
        [Query(by_index(here("paceline_gpu_temperature_celsius")), f"{EACH} {{{{sensor}}}}")],
        "celsius",
    ),
    Panel(
        "Degrees left until it slows down",
        "0 is throttling. n/a where the driver does not tell.",
        [Query(by_index(here("paceline_gpu_temperature_margin_celsius")), EACH)],
        "celsius",
    ),
    Panel(
        "Clock of the multiprocessors",
        "Under load it should be the same on all GPUs of a node.",
        [Query(by_index(here("paceline_gpu_clock_hertz", SM)), EACH)],
        "hertz",
    ),
    Panel(
        "Clocks held down, by reason",
        "Share of the time on the GPU that is held down most. sw_power_cap is normal under full load; thermal "
        "reasons and power brakes are not.",
        [Query(f"max by (reason) ({_rate('paceline_gpu_throttle_seconds_total')})", "{{reason}}")],
        "percentunit",
    ),
    Panel(
        "Memory in use",
        "Share of the device memory that is allocated, without what driver and firmware keep.",
        [
            Query(
                by_index(f"{here('paceline_gpu_memory_used_bytes')} / {here('paceline_gpu_memory_total_bytes')}"),
                EACH,
            )
        ],
        "percentunit",
    ),
    Panel(
        "NVLink",
        "Data bytes per second over all links, both directions. n/a without NVLink.",
        [Query(by_index(_sum(_rate("paceline_gpu_nvlink_bytes_total"))), EACH)],
        "Bps",
    ),
    Panel(
        "PCIe",
        "Bytes per second, both directions.",
        [Query(by_index(_sum(_rate("paceline_gpu_pcie_bytes_total"))), EACH)],
        "Bps",
    ),
    Panel(
        "Processes",
        "That compute on the GPU; more than one where one rank should be alone is a neighbour.",
        [Query(by_index(here("paceline_gpu_processes")), EACH)],
        "none",
    ),
)

HEALTH = (
    Panel(
        "Health by GPU",
        "Recovery: 0 nothing, 1 GPU reset, 2 reboot, 3 drain of peers, 4 drain and reset. Errors since the "
        "driver was loaded. n/a: this GPU or driver does not tell, which is not the same as 0.",
        [
            _health("up", here("paceline_gpu_up")),
            _health("recovery", here("paceline_gpu_recovery_action")),
            _health("uncorrected ECC", _sum(here("paceline_gpu_ecc_volatile_uncorrected_total"))),
            _health("corrected ECC", _sum(here("paceline_gpu_ecc_volatile_corrected_total"))),
            _health("rows remapped", _sum(here("paceline_gpu_remapped_rows"))),
            _health("remap pending", here("paceline_gpu_remap_pending")),
            _health("remap failed", here("paceline_gpu_remap_failed")),
            _health("NVLinks up", _sum(here("paceline_gpu_nvlink_up"))),
            _health("NVLink errors", _sum(here("paceline_gpu_nvlink_errors_total"))),
            _health("PCIe generation", here("paceline_gpu_pcie_generation")),
            _health("PCIe lanes", here("paceline_gpu_pcie_width")),
            _health("PCIe replays", here("paceline_gpu_pcie_replays_total")),
        ],
        "none",
        "values",
        width=24,
        height=9,
        columns=("index",),
    ),
    Panel(
        "XIDs",
        "Faults that the driver reported, by code and by what NVIDIA's catalogue says to do at once. restart_app "
        "and ignore are an application's doing; a 0 here was counted, not assumed.",
        [Query(f"sum by (xid, action) ({here('paceline_gpu_xid_total')})", "{{xid}}: {{action}}")],
        "none",
        "bars",
        width=12,
        height=12,
    ),
    Panel(
        "GPUs that are down",
        "lost: NVML says so; missing: not listed any more; hung: a call does not return; driver: no driver; "
        "stale: nothing new. n/a while all answer.",
        [
            Query(
                f"{here('paceline_gpu_down_info')} * on ({GPU}) group_left (index, pci, serial) "
                f"{here('paceline_gpu_info')}"
            )
        ],
        "none",
        "info",
        width=12,
        height=6,
        columns=("index", "reason", "uuid", "pci", "serial"),
    ),
    Panel(
        "What the driver asks for since XID 154",
        "In the driver's own words; n/a while it asks for nothing.",
        [
            Query(
                f"{here('paceline_gpu_xid_recovery_info')} * on ({GPU}) group_left (index) "
                f"{here('paceline_gpu_info')}"
            )
        ],
        "none",
        "info",
        width=12,
        height=6,
        columns=("index", "action", "uuid"),
    ),
)

MIG = (
    Panel(
        "Multiprocessors active, by MIG instance",
        "Share of the instance's own multiprocessors. n/a without MIG.",
        [
            Query(
                f"{here('paceline_mig_sm_active_ratio')} * on ({GPU}) group_left (parent, gi, profile) "
                f"{here('paceline_mig_info')}",
                "{{parent}} {{gi}} {{profile}}",
            )
        ],
        "percentunit",
        width=12,
    ),
    Panel(
        "Memory in use, by MIG instance",
        "Share of the instance's own memory. n/a without MIG.",
        [
            Query(
                f"({here('paceline_mig_memory_used_bytes')} / {here('paceline_mig_memory_total_bytes')}) "
                f"* on ({GPU}) group_left (parent, gi, profile) {here('paceline_mig_info')}",
                "{{parent}} {{gi}} {{profile}}",
            )
        ],
        "percentunit",
        width=12,
    ),
)
