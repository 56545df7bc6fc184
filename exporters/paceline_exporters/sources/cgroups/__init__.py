"""Limits of the control groups that ranks run in, and of the agent's own: memory, OOM kills, CPU throttling."""

from __future__ import annotations

from ..contract import World
from .source import CgroupsSource


def create(world: World) -> CgroupsSource:
    """The source of this package."""
    return CgroupsSource(world)
