"""The rings of one supervised command: those whose header carries its token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from paceline_exporters.rings import Header, RingDirectory, RingReader

IN_ORDER = ("finished", "exit")
"""How training ends where no failure was seen; after an "exit" the process's status may still tell of one."""


@dataclass(frozen=True)
class OwnRing:
    """A ring and its header."""

    reader: RingReader
    header: Header

    @property
    def run_id(self) -> str:
        """What agents and tuner call the run."""
        return str(self.header.data.get("run_id", ""))

    @property
    def rank(self) -> int:
        """Rank in the job."""
        return int(self.header.data.get("rank", 0))

    @property
    def attempt(self) -> int:
        """How often the launcher had restarted the run when this ring was made."""
        return int(self.header.data.get("attempt", 0))


class OwnRings:
    """Finds them in the ring directory, again and again."""

    def __init__(self, directory: Path, token: str) -> None:
        self._directory = RingDirectory(directory)
        self._token = token

    def find(self) -> Mapping[str, OwnRing]:
        """UUID -> ring."""
        found = {}
        for uuid, reader in self._directory.scan().rings.items():
            header = reader.header()
            if header is not None and header.data.get("supervisor") == self._token:
                found[uuid] = OwnRing(reader, header)
        return found

    def last_attempt(self) -> list[OwnRing]:
        """The rings of the latest attempt, by rank."""
        rings = list(self.find().values())
        latest = max((ring.attempt for ring in rings), default=0)
        return sorted((ring for ring in rings if ring.attempt == latest), key=lambda ring: ring.rank)

    def finished(self) -> bool:
        """Whether every rank of the latest attempt has said that its training is over, with no failure known."""
        rings = self.last_attempt()
        return bool(rings) and all(
            any(event.kind == "end" and event.detail.get("how") in IN_ORDER for event in ring.reader.events(0))
            for ring in rings
        )

    def close(self) -> None:
        """Close every reader."""
        self._directory.close()
