"""Ethtool statistics of the network devices of RDMA NICs: pause frames, discards, link and PCIe faults."""

from __future__ import annotations

from ..contract import World
from .source import EthtoolSource


def create(world: World) -> EthtoolSource:
    """The source of this package."""
    return EthtoolSource(world, world.ethtool_include)
