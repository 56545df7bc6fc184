"""What goes wrong when others are asked whose a device is: counted by whom and why, said once per outage."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping

log = logging.getLogger(__name__)

REASONS: Mapping[str, str] = {
    "missing": "is the kubelet running?",
    "refused": "is the kubelet running?",
    "permission": "run the agent as root, or let its user read the directory and write to the socket",
    "deadline": "the kubelet is slow",
    "too_large": "the kubelet's answer is refused",
    "protocol": "is that a kubelet of Kubernetes 1.20 or newer?",
    "status": "see the kubelet's log",
    "io": "the kubelet went away",
}
"""Why a question was not answered -> what to do or to think."""


class AskError(Exception):
    """A question that was not answered; `reason` is one of REASONS."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Errors:
    """Counted from 0 by (whom, reason)."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self._out: set[str] = set()

    def expect(self, asked: str, reasons: Iterable[str]) -> None:
        """These may fail: their counters begin, at 0."""
        for reason in reasons:
            self.counts.setdefault((asked, reason), 0)

    def failed(self, asked: str, error: AskError) -> None:
        """Count, and say it if it is news."""
        self.counts[asked, error.reason] += 1
        if asked not in self._out:
            log.warning("%s: %s (%s); what it would have named is absent", asked, error, REASONS[error.reason])
        self._out.add(asked)

    def answered(self, asked: str) -> None:
        """The outage, if there was one, is over."""
        self._out.discard(asked)
