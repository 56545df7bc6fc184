"""GPUs through NVML. `child/` runs in a process that owns the driver's library and can be killed; the rest runs
in the agent, reads what the child says, and never calls the driver."""

from __future__ import annotations

from ..contract import World
from .source import GpuSource


def create(world: World) -> GpuSource:
    """The source of this package."""
    return GpuSource(world)
