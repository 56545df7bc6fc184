"""The Node dashboard's host: CPU, memory, pressure, disks, network, file systems."""

from __future__ import annotations

from .devices import here
from .panels import RATE, Panel, Query

HOST = "paceline_host"


def _rate(metric: str, *matchers: str) -> str:
    return f"rate({here(metric, *matchers)}[{RATE}])"


HOSTS = (
    Panel(
        "CPU by mode",
        "Share of all CPUs. steal is time that a hypervisor gave to others.",
        [
            Query(
                f"sum by (mode) ({_rate(f'{HOST}_cpu_seconds_total')}) "
                f"/ ignoring (mode) group_left () sum({here(f'{HOST}_cpus')})",
                "{{mode}}",
            )
        ],
        "percentunit",
        "stack",
    ),
    Panel(
        "Pressure",
        "Share of the time in which some tasks, or all of them (full), waited for the resource. n/a where the "
        "kernel runs without PSI.",
        [Query(_rate(f"{HOST}_pressure_seconds_total"), "{{resource}} {{share}}")],
        "percentunit",
    ),
    Panel(
        "Memory",
        "What new processes can have, and all there is.",
        [
            Query(here(f"{HOST}_memory_available_bytes"), "available"),
            Query(here(f"{HOST}_memory_total_bytes"), "all"),
            Query(here(f"{HOST}_swap_total_bytes") + " - " + here(f"{HOST}_swap_free_bytes"), "swap in use"),
        ],
        "bytes",
    ),
    Panel(
        "Tasks",
        "That run or could run, that wait for a disk, and the CPUs there are.",
        [
            Query(here(f"{HOST}_tasks_running"), "running"),
            Query(here(f"{HOST}_tasks_blocked"), "blocked"),
            Query(here(f"{HOST}_cpus"), "CPUs"),
        ],
        "none",
    ),
    Panel(
        "Killed for want of memory",
        "Processes so far: of the whole host, and at the limit of a rank's own control groups.",
        [
            Query(here(f"{HOST}_oom_kills_total"), "host"),
            Query(here("paceline_cgroup_oom_kills_total"), "{{run_id}} rank {{rank}}"),
        ],
        "none",
    ),
    Panel(
        "Memory of ranks against their limits",
        "Share of the limit of the rank's control groups, page cache included. n/a without a limit.",
        [
            Query(
                f"{here('paceline_cgroup_memory_used_bytes')} / {here('paceline_cgroup_memory_limit_bytes')}",
                "{{run_id}} rank {{rank}}",
            )
        ],
        "percentunit",
    ),
    Panel(
        "Kept from the CPU by a limit",
        "Tasks of the rank that wait for their control group's next period, on average.",
        [Query(_rate("paceline_cgroup_cpu_throttled_seconds_total"), "{{run_id}} rank {{rank}}")],
        "none",
    ),
    Panel(
        "Disks at work",
        "Share of the time in which the disk had something to do; of a fast disk it may be 100 % without being "
        "full.",
        [Query(f"{_rate(f'{HOST}_disk_io_seconds_total')} > 0", "{{device}}")],
        "percentunit",
    ),
    Panel(
        "File systems in use",
        "Share of the space. /dev/shm holds what data loaders and NCCL share, and the rings.",
        [
            Query(
                f"1 - {here('paceline_filesystem_available_bytes')} / {here('paceline_filesystem_size_bytes')}",
                "{{mountpoint}}",
            )
        ],
        "percentunit",
    ),
    Panel(
        "Network",
        "Bytes per second of each device that moves any; RDMA is not in it.",
        [
            Query(f"{_rate(f'{HOST}_network_{way}_bytes_total')} > 0", f"{{{{device}}}} {way}")
            for way in ("receive", "transmit")
        ],
        "Bps",
    ),
    Panel(
        "Network errors and drops",
        "Packets per second, all devices.",
        [
            Query(f"sum({_rate(f'{HOST}_network_{way}_{what}_total')})", f"{what}, {way}")
            for what in ("errors", "drops")
            for way in ("receive", "transmit")
        ],
        "suffix:/s",
    ),
    Panel(
        "NFS",
        "Bytes per second by mount, and calls that had to be sent again. n/a without NFS.",
        [
            Query(_rate("paceline_nfs_read_bytes_total"), "{{mountpoint}} read"),
            Query(_rate("paceline_nfs_written_bytes_total"), "{{mountpoint}} written"),
            Query(_rate(f"{HOST}_nfs_retransmissions_total"), "sent again, /s"),
        ],
        "Bps",
    ),
)
