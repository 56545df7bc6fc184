"""The host: CPU time, load, memory, pressure, disks, network, TCP and NFS client, from procfs."""

from __future__ import annotations

from ..contract import World
from .source import HostSource


def create(world: World) -> HostSource:
    """The source of this package."""
    return HostSource(world)
