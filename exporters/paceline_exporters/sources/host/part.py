"""What one subject of the host is to its source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ...metrics import Family, Samples


class Part(Protocol):
    """One subject, one file. Missing files are no failure; what else goes wrong costs this subject only."""

    @property
    def families(self) -> Sequence[Family]:
        """All that it may sample."""
        ...

    def add(self, samples: Samples) -> None:
        """Look once. Raises OSError, or ValueError for a file that is not as expected."""
        ...
