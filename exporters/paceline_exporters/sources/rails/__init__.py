"""Rails: which NIC each GPU is closest to, and which NICs are there for something else."""

from __future__ import annotations

from ..contract import World
from .source import RailsSource


def create(world: World) -> RailsSource:
    """The source of this package."""
    return RailsSource(world)
