"""Memory, swap, huge pages and OOM kills: psutil for what it defines, else /proc/meminfo and /proc/vmstat."""

from __future__ import annotations

import os

import psutil

from ...metrics import Family, Samples
from .files import Files

MEMORY = ("total", "available", "used", "free", "buffers", "cached", "shared")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
KIB = 1024

MEMORY_BYTES = {
    kind: Family(f"paceline_host_memory_{kind}_bytes", f"Memory: {kind}, as psutil defines it.", "gauge", "bytes")
    for kind in MEMORY
}
# Line of /proc/meminfo, in KiB -> family
MEMINFO = {
    b"Dirty": Family(
        "paceline_host_memory_dirty_bytes", "Memory that waits to be written to disk.", "gauge", "bytes"
    ),
    b"Writeback": Family(
        "paceline_host_memory_writeback_bytes", "Memory that is being written to disk.", "gauge", "bytes"
    ),
    b"SwapTotal": Family("paceline_host_swap_total_bytes", "Size of all swap space.", "gauge", "bytes"),
    b"SwapFree": Family("paceline_host_swap_free_bytes", "Swap space that is unused.", "gauge", "bytes"),
}
# Line of /proc/meminfo, in huge pages of the default size -> family
HUGE_PAGES = {
    b"HugePages_Total": Family(
        "paceline_host_hugepages_total_bytes", "Huge pages of the default size.", "gauge", "bytes"
    ),
    b"HugePages_Free": Family("paceline_host_hugepages_free_bytes", "Those not allocated yet.", "gauge", "bytes"),
    b"HugePages_Rsvd": Family(
        "paceline_host_hugepages_reserved_bytes", "Those promised, but not allocated yet.", "gauge", "bytes"
    ),
}
# Line of /proc/vmstat -> family, factor
VMSTAT = {
    b"oom_kill": (
        Family("paceline_host_oom_kills_total", "Processes killed for want of memory, on all of it.", "counter"),
        1,
    ),
    b"pswpin": (
        Family("paceline_host_swap_in_bytes_total", "Memory read back from swap.", "counter", "bytes"),
        PAGE_BYTES,
    ),
    b"pswpout": (
        Family("paceline_host_swap_out_bytes_total", "Memory written to swap.", "counter", "bytes"),
        PAGE_BYTES,
    ),
    b"pgmajfault": (
        Family("paceline_host_major_faults_total", "Page faults that had to wait for a disk.", "counter"),
        1,
    ),
}


class Memory:
    """Memory of the whole host."""

    families = (
        *MEMORY_BYTES.values(),
        *MEMINFO.values(),
        *HUGE_PAGES.values(),
        *(family for family, _ in VMSTAT.values()),
    )

    def __init__(self, procfs: Files) -> None:
        self._procfs = procfs

    def add(self, samples: Samples) -> None:
        """Raises OSError or ValueError."""
        memory = psutil.virtual_memory()
        for kind, family in MEMORY_BYTES.items():
            samples.add(family, getattr(memory, kind, None))
        found = _numbers(self._procfs.read("meminfo"))
        for name, family in MEMINFO.items():
            if name in found:
                samples.add(family, found[name] * KIB)
        huge_page = found.get(b"Hugepagesize")
        for name, family in HUGE_PAGES.items():
            if huge_page is not None and name in found:
                samples.add(family, found[name] * huge_page * KIB)
        events = _numbers(self._procfs.read("vmstat"))
        for name, (family, factor) in VMSTAT.items():
            if name in events:
                samples.add(family, events[name] * factor)


def _numbers(text: bytes) -> dict[bytes, int]:
    """`Name: 12 kB` or `name 12`, a line each."""
    rows = (line.split() for line in text.splitlines())
    return {row[0].rstrip(b":"): int(row[1]) for row in rows if len(row) > 1}
