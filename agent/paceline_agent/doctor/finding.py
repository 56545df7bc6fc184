"""What a check says: one subject, how it is, what is seen, and for what is wrong why and the one thing to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "absent", "limited", "broken"]
WANTING: tuple[Status, ...] = ("limited", "broken")
"""These make the exit status 1, and say why and what to do."""


@dataclass(frozen=True)
class Finding:
    """One line of the report. Raises ValueError for a complaint without its cure."""

    subject: str
    status: Status
    """ok; absent: nothing of that kind is here, which is fine; limited: part of it is missing; broken: all is."""
    seen: str
    """One line, with numbers."""
    why: str = ""
    fix: str = ""
    """One command, permission or setting."""

    def __post_init__(self) -> None:
        if self.wanting != bool(self.why) or self.wanting != bool(self.fix):
            raise ValueError(f"{self.subject}: {self.status} with why {self.why!r} and fix {self.fix!r}")

    @property
    def wanting(self) -> bool:
        """Whether something should be done."""
        return self.status in WANTING


def count(number: int, noun: str) -> str:
    """`1 device`, `2 devices`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
