"""Pressure stall information: time that tasks lost waiting (Documentation/accounting/psi.rst)."""

from __future__ import annotations

import errno

from ...metrics import Family, Samples
from .files import Files

RESOURCES = ("cpu", "memory", "io", "irq")
MICROSECONDS = 1_000_000
NEVER = {("cpu", b"full")}
"""Undefined for the whole system; the kernel writes zeros."""

STALLED = Family(
    "paceline_host_pressure_seconds_total",
    "Time in which some tasks, or all that were not idle (full), waited for the resource.",
    "counter",
    "seconds",
    ("resource", "share"),
)


class Pressure:
    """Of the whole host; nothing where the kernel does without."""

    families = (STALLED,)

    def __init__(self, procfs: Files) -> None:
        self._procfs = procfs

    def add(self, samples: Samples) -> None:
        """Raises OSError or ValueError."""
        for resource in RESOURCES:
            for line in self._lines(resource):
                share, _, rest = line.partition(b" ")
                if (resource, share) not in NEVER:
                    total = int(rest.rpartition(b"total=")[2])
                    samples.add(STALLED, total / MICROSECONDS, resource, share.decode())

    def _lines(self, resource: str) -> list[bytes]:
        try:
            return self._procfs.read(f"pressure/{resource}").splitlines()
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EOPNOTSUPP):  # not built in, or psi=0
                return []
            raise
