"""The host: CPU time, load, memory and network, from procfs through psutil."""

from __future__ import annotations

from collections.abc import Iterator

import psutil

from ..metrics import Family, Samples
from .contract import World

CPU_MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
"""Guest time is left out: the kernel already counts it as user time."""
MEMORY = ("total", "available", "used", "free", "buffers", "cached", "shared")
SKIPPED_DEVICES = ("veth", "cali", "lxc", "docker", "br-")
"""Prefixes of per-container devices: their traffic is counted on the real device, their number is unbounded."""

CPU_SECONDS = Family(
    "paceline_host_cpu_seconds_total", "CPU time by mode, all CPUs together.", "counter", "seconds", ("mode",)
)
CPUS = Family("paceline_host_cpus", "CPUs the kernel schedules on.", "gauge")
LOAD = Family("paceline_host_load_average", "Runnable and waiting tasks, averaged.", "gauge", "", ("window",))
MEMORY_BYTES = {
    kind: Family(f"paceline_host_memory_{kind}_bytes", f"Memory: {kind}, as psutil defines it.", "gauge", "bytes")
    for kind in MEMORY
}
# psutil's field -> family
NETWORK = {
    field: Family(f"paceline_host_network_{name}_total", text, "counter", unit, ("device",))
    for field, name, text, unit in (
        ("bytes_recv", "receive_bytes", "Bytes received by the device.", "bytes"),
        ("bytes_sent", "transmit_bytes", "Bytes sent by the device.", "bytes"),
        ("packets_recv", "receive_packets", "Packets received by the device.", ""),
        ("packets_sent", "transmit_packets", "Packets sent by the device.", ""),
        ("errin", "receive_errors", "Packets received with errors.", ""),
        ("errout", "transmit_errors", "Packets that could not be sent.", ""),
        ("dropin", "receive_drops", "Packets received and dropped.", ""),
        ("dropout", "transmit_drops", "Packets dropped instead of sent.", ""),
    )
}


class HostSource:
    """CPU, load, memory and network of the machine whose procfs it is given."""

    name = "host"
    period_seconds = 2.0
    deadline_seconds = 1.0
    families = (CPU_SECONDS, CPUS, LOAD, *MEMORY_BYTES.values(), *NETWORK.values())

    def __init__(self, world: World) -> None:
        self._procfs = world.procfs

    def sample(self) -> Samples:
        """Raises OSError or ValueError where procfs is missing or unreadable."""
        psutil.PROCFS_PATH = str(self._procfs)
        samples = Samples()
        times = psutil.cpu_times()
        for mode in CPU_MODES:
            samples.add(CPU_SECONDS, getattr(times, mode, None), mode)
        samples.add(CPUS, self._cpus())
        for window, value in self._loads():
            samples.add(LOAD, value, window)
        memory = psutil.virtual_memory()
        for kind, family in MEMORY_BYTES.items():
            samples.add(family, getattr(memory, kind, None))
        # The kernel's counters have 64 bits: one that fell is a new device, which is a reset and no wrap.
        for device, counters in sorted(psutil.net_io_counters(pernic=True, nowrap=False).items()):
            if not device.startswith(SKIPPED_DEVICES):
                for field, family in NETWORK.items():
                    samples.add(family, getattr(counters, field), device)
        return samples

    def close(self) -> None:
        """Nothing is held."""

    def _loads(self) -> Iterator[tuple[str, float]]:
        values = (self._procfs / "loadavg").read_text().split()
        yield from zip(("1m", "5m", "15m"), map(float, values), strict=False)

    def _cpus(self) -> int:
        with (self._procfs / "stat").open("rb") as lines:
            return sum(line.startswith(b"cpu") for line in lines) - 1


def create(world: World) -> HostSource:
    """The source of this module."""
    return HostSource(world)
