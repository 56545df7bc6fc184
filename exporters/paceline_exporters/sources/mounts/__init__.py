"""Mounted filesystems: how full the local ones are, and what NFS mounts transfer."""

from __future__ import annotations

from ..contract import World
from .source import MountsSource


def create(world: World) -> MountsSource:
    """The source of this package."""
    return MountsSource(world)
