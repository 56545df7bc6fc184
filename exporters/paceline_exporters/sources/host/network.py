"""Network devices: net/dev (net/core/net-procfs.c in the Linux source)."""

from __future__ import annotations

from ...metrics import Family, Samples
from .files import Files

SKIPPED_DEVICES = ("veth", "cali", "lxc", "docker", "br-")
"""Prefixes of per-container devices: their traffic is counted on the real device, their number is unbounded."""

HEADER_LINES = 2
# Column of net/dev after the device's name -> family
NETWORK = {
    column: Family(f"paceline_host_network_{name}_total", text, "counter", unit, ("device",))
    for column, name, text, unit in (
        (0, "receive_bytes", "Bytes received by the device.", "bytes"),
        (8, "transmit_bytes", "Bytes sent by the device.", "bytes"),
        (1, "receive_packets", "Packets received by the device.", ""),
        (9, "transmit_packets", "Packets sent by the device.", ""),
        (2, "receive_errors", "Packets received with errors.", ""),
        (10, "transmit_errors", "Packets that could not be sent.", ""),
        (3, "receive_drops", "Packets received and dropped.", ""),
        (11, "transmit_drops", "Packets dropped instead of sent.", ""),
    )
}


class Network:
    """The devices of the host's network namespace."""

    families = tuple(NETWORK.values())

    def __init__(self, procfs: Files) -> None:
        self._procfs = procfs

    def add(self, samples: Samples) -> None:
        """Raises OSError or ValueError."""
        # The kernel's counters have 64 bits: one that fell is a new device, which is a reset and no wrap.
        for line in sorted(self._procfs.read_network("dev").decode().splitlines()[HEADER_LINES:]):
            device, _, counters = line.strip().rpartition(":")
            if not device.startswith(SKIPPED_DEVICES):
                values = counters.split()
                for column, family in NETWORK.items():
                    samples.add(family, int(values[column]), device)
