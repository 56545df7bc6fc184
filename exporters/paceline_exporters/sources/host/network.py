"""Network devices, through psutil."""

from __future__ import annotations

import psutil

from ...metrics import Family, Samples

SKIPPED_DEVICES = ("veth", "cali", "lxc", "docker", "br-")
"""Prefixes of per-container devices: their traffic is counted on the real device, their number is unbounded."""

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


class Network:
    """The devices of the agent's network namespace."""

    families = tuple(NETWORK.values())

    def add(self, samples: Samples) -> None:
        """Raises OSError or ValueError."""
        # The kernel's counters have 64 bits: one that fell is a new device, which is a reset and no wrap.
        for device, counters in sorted(psutil.net_io_counters(pernic=True, nowrap=False).items()):
            if not device.startswith(SKIPPED_DEVICES):
                for field, family in NETWORK.items():
                    samples.add(family, getattr(counters, field), device)
