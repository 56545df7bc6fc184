"""What every check is given: the agent's settings, where this process runs, and what the sources gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from paceline_exporters.sources.contract import World

from . import pci
from .place import Place
from .sampling import Sampled


@dataclass(frozen=True)
class Visit:
    """One look at one machine; nothing on it is changed."""

    world: World
    """As the agent's, but keeping nothing."""
    place: Place
    sampled: Mapping[str, Sampled] = field(default_factory=dict)
    """Source name -> what it gave."""
    listen_address: str = ""
    web_config: Path | None = None
    tuner_url: str | None = None
    spool_directory: Path = Path()
    state_directory: Path = Path()
    complaints: Sequence[str] = ()
    """Flags with which the agent does not start, as SettingsError tells them."""
    devices: Path = Path("/dev")
    """Where NVIDIA's library looks for its device nodes: always there."""

    @property
    def has_gpus(self) -> bool:
        """Whether NVML or the PCI bus shows one of NVIDIA's."""
        return bool(self.world.board.gpus) or bool(pci.gpus(self.world.sysfs))
