"""The report: aligned text for people, JSON for machines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from .finding import WANTING, Finding, Status

COLOURS: dict[Status, str] = {"ok": "32", "absent": "2", "limited": "33", "broken": "31"}
"""ECMA-48 SGR parameters."""
INDENT = 9


@dataclass(frozen=True)
class Report:
    """All findings of one machine."""

    node: str
    place: str
    findings: Sequence[Finding]

    @property
    def status(self) -> int:
        """The exit status: 1 where anything is limited or broken."""
        return int(any(finding.wanting for finding in self.findings))

    def text(self, colour: bool = False) -> str:
        """For people."""
        width = max(len(finding.subject) for finding in self.findings)
        lines = [f"{self.node}: {self.place}", ""]
        lines += (line for finding in self.findings for line in _lines(finding, width, colour))
        return "\n".join([*lines, "", self._verdict(), ""])

    def json(self) -> str:
        """For machines; these keys stay."""
        findings = [asdict(finding) for finding in self.findings]
        report = {"schema": 1, "node": self.node, "place": self.place, "healthy": not self.status}
        return json.dumps({**report, "findings": findings}, indent=2) + "\n"

    def _verdict(self) -> str:
        counts = Counter(finding.status for finding in self.findings)
        if not self.status:
            return "The agent sees all that is here."
        return ", ".join(f"{counts[status]} {status}" for status in WANTING if counts[status]) + "."


def _lines(finding: Finding, width: int, colour: bool) -> Iterator[str]:
    status = f"{finding.status:{INDENT - 2}}"
    if colour:
        status = f"\x1b[{COLOURS[finding.status]}m{status}\x1b[0m"
    yield f"{status}  {finding.subject:{width}}  {finding.seen}"
    for name, text in (("why", finding.why), ("fix", finding.fix)):
        if text:
            yield f"{'':{INDENT + width}}  {name}: {text}"
