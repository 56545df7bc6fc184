"""The host source."""

from __future__ import annotations

from collections.abc import Sequence

import psutil

from ...metrics import Samples
from ..contract import World
from .cpu import CPU_SECONDS, Cpu
from .disk import Disks
from .files import Files
from .memory import Memory
from .network import Network
from .nfs import Nfs
from .part import Part
from .pressure import Pressure
from .tcp import Tcp


class HostSource:
    """The machine whose procfs it is given, subject by subject."""

    name = "host"
    period_seconds = 2.0
    deadline_seconds = 1.0

    def __init__(self, world: World) -> None:
        self._root = world.procfs
        self._procfs = Files(world.procfs)
        self._parts: Sequence[Part] = (
            Cpu(self._procfs),
            Memory(self._procfs),
            Pressure(self._procfs),
            Disks(self._procfs, world.sysfs),
            Network(self._procfs),
            Tcp(self._procfs),
            Nfs(self._procfs),
        )
        self.families = tuple(family for part in self._parts for family in part.families)

    def sample(self) -> Samples:
        """Raises OSError or ValueError where not even CPU time can be read: that is no procfs."""
        psutil.PROCFS_PATH = str(self._root)
        samples = Samples()
        for part in self._parts:
            try:
                part.add(samples)
            except FileNotFoundError:
                if CPU_SECONDS not in samples.points:
                    raise
            except (OSError, ValueError, LookupError) as error:
                samples.problem = error
        return samples

    def close(self) -> None:
        """Close the files."""
        self._procfs.close()
