"""What a source is, and the world it looks at."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from ..following import Followers
from ..metrics import Family, Samples
from ..rings import default_directory
from .board import Board


@dataclass(frozen=True)
class World:
    """Where sources look. Every root is a parameter: a container sees it elsewhere, a test brings its own."""

    procfs: Path = Path("/proc")
    sysfs: Path = Path("/sys")
    rootfs: Path = Path("/")
    rings: Path = field(default_factory=default_directory)
    """Directory of the step rings."""
    node: str = field(default_factory=socket.gethostname)
    """This node's name in info series and reports."""
    state: Path | None = None
    """Directory for what must outlive the agent (see `kept`); None: nothing does."""
    compat: frozenset[str] = frozenset()
    """Exporters whose metric names are served as well: `node_exporter`."""
    ethtool_include: re.Pattern[str] | None = None
    """Ethtool statistics that Paceline has no name for, served as they are where it is found in their names."""
    peak_flops: float | None = None
    """FLOP/s of this node's devices in the precision of its jobs, instead of what `peaks` knows; None: that."""
    board: Board = field(default_factory=Board)
    """What the sources of this world tell each other."""

    @cached_property
    def followers(self) -> Followers:
        """The rings, read once for all who follow them."""
        return Followers(self.rings)


class Source(Protocol):
    """One subject. `sample` is called from one worker thread of its own, never twice at once.

    It may raise anything: the failure is counted by class and costs this source's series only. Where some are to
    be served all the same (an inventory that says what is lost), it returns them with `Samples.problem` set. What
    is not on this machine is no failure: leave it out of the samples. Returning the same Samples object as before
    says that nothing changed, and costs nothing.
    """

    @property
    def name(self) -> str:
        """As in the label `source` and the scrape's `name[]` filter."""
        ...

    @property
    def period_seconds(self) -> float:
        """From the start of one sample to the start of the next."""
        ...

    @property
    def deadline_seconds(self) -> float:
        """A sample that takes longer counts as failed."""
        ...

    @property
    def families(self) -> Sequence[Family]:
        """All that this source may sample; no other source declares any of them."""
        ...

    def sample(self) -> Samples:
        """Look once."""
        ...

    def close(self) -> None:
        """Keep what must be kept, end child processes, close files. Called once, after the last sample."""
        ...
