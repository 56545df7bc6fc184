"""The agent's settings: would it start with these flags."""

from __future__ import annotations

from collections.abc import Iterator

from .finding import Finding
from .visit import Visit


def examine(visit: Visit) -> Iterator[Finding]:
    """Each flag that is wrong; nothing is said of those that are right."""
    for complaint in visit.complaints:
        flag, _, what = complaint.partition(": ")
        yield Finding("settings", "broken", "the agent does not start", what, f"correct {flag}")
