"""Disks: /proc/diskstats (Documentation/admin-guide/iostats.rst), of whole devices as /sys/block lists them."""

from __future__ import annotations

from pathlib import Path

from ...metrics import Family, Samples
from .files import Files

SECTOR_BYTES = 512
"""Of these counters, whatever the disk's own."""
MILLISECONDS = 1000
SKIPPED = ("loop", "ram", "zram", "fd", "sr")
"""Prefixes of devices that are memory, files of other devices, or removable."""
MOST_DISKS = 64
"""Shown; hardware first: of a node with a hundred logical volumes it is the disks that fail and slow down."""
LEFT_OUT = Family("paceline_host_disks_left_out", f"Disks beyond the {MOST_DISKS} that are shown.", "gauge")

# Column of /proc/diskstats, factor, divisor, name, help, unit
_COLUMNS = (
    (3, 1, 1, "reads", "Reads completed.", ""),
    (5, SECTOR_BYTES, 1, "read_bytes", "Bytes read.", "bytes"),
    (6, 1, MILLISECONDS, "read_seconds", "Time that reads took, of all together.", "seconds"),
    (7, 1, 1, "writes", "Writes completed.", ""),
    (9, SECTOR_BYTES, 1, "written_bytes", "Bytes written.", "bytes"),
    (10, 1, MILLISECONDS, "write_seconds", "Time that writes took, of all together.", "seconds"),
    (12, 1, MILLISECONDS, "io_seconds", "Time in which the disk had something to do.", "seconds"),
    (13, 1, MILLISECONDS, "weighted_io_seconds", "Time of all requests together, waiting included.", "seconds"),
)
COUNTERS = tuple(
    (column, factor, divisor, Family(f"paceline_host_disk_{name}_total", text, "counter", unit, ("device",)))
    for column, factor, divisor, name, text, unit in _COLUMNS
)


class Disks:
    """Every whole disk; device mapper and RAID devices count as disks of their own."""

    families = (*(family for *_, family in COUNTERS), LEFT_OUT)

    def __init__(self, procfs: Files, sysfs: Path) -> None:
        self._procfs = procfs
        self._block = sysfs / "block"

    def add(self, samples: Samples) -> None:
        """Raises OSError or ValueError."""
        whole = [path for path in self._block.iterdir() if not path.name.startswith(SKIPPED)]
        whole.sort(key=lambda path: (not (path / "device").exists(), path.name))
        samples.add(LEFT_OUT, len(whole[MOST_DISKS:]))
        # Sysfs writes `!` for the `/` in a device's name.
        admitted = {path.name.replace("!", "/") for path in whole[:MOST_DISKS]}
        for line in self._procfs.read("diskstats").decode().splitlines():
            columns = line.split()
            if columns[2] in admitted:
                for column, factor, divisor, family in COUNTERS:
                    value = int(columns[column]) * factor
                    samples.add(family, value if divisor == 1 else value / divisor, columns[2])
