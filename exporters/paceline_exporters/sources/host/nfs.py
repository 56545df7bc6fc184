"""The NFS client's remote procedure calls: net/rpc/nfs (net/sunrpc/stats.c in the Linux source)."""

from __future__ import annotations

from ...metrics import Family, Samples
from .files import Files

CALLS = Family("paceline_host_nfs_calls_total", "Calls of the NFS client.", "counter")
RETRANSMISSIONS = Family(
    "paceline_host_nfs_retransmissions_total", "Calls sent again because no answer came in time.", "counter"
)
REFRESHES = Family(
    "paceline_host_nfs_authentication_refreshes_total", "Times credentials had to be refreshed.", "counter"
)


class Nfs:
    """All mounts together; nothing where the client's module is not loaded."""

    families = (CALLS, RETRANSMISSIONS, REFRESHES)

    def __init__(self, procfs: Files) -> None:
        self._procfs = procfs

    def add(self, samples: Samples) -> None:
        """Raises OSError or ValueError."""
        for line in self._procfs.read_network("rpc/nfs").splitlines():
            if line.startswith(b"rpc "):
                for family, value in zip(self.families, line.split()[1:], strict=False):
                    samples.add(family, int(value))
