"""RDMA devices: every counter that any driver shows in sysfs, with state, rate and inventory."""

from __future__ import annotations

from ..contract import World
from .source import RdmaSource


def create(world: World) -> RdmaSource:
    """The source of this package."""
    return RdmaSource(world)
