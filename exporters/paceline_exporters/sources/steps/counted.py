"""What was counted of the ranks, kept across restarts of the agent: counters go on, and no step counts twice."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import Thread
from typing import Any

from ...following import MOST_LEFT, Mark
from ...kept import Kept
from ...ranks import Rank

log = logging.getLogger(__name__)

CLOSE_SECONDS = 1.0
"""That a write may take when the agent ends."""
SAVE_SECONDS = 10.0
"""Between two savings. Marks and totals are saved together: what came after the last one is read again."""


class Counted:
    """The totals of the ranks, and how far each ring is in them."""

    def __init__(self, state: Path | None) -> None:
        """`state`: directory of what outlives the agent."""
        self._kept = Kept(state, "steps")
        self._saved_at = 0.0
        self._saved: Any = _document({}, ())
        self._writer: Thread | None = None
        self.marks: dict[str, Mark] = {}
        """By the ring's UUID."""
        self._ranks: dict[tuple[str, int], dict[str, Any]] = {}
        try:
            self.marks, self._ranks = _decoded(self._kept.load())
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            log.warning("what was counted of the steps cannot be used, they are counted anew: %s", error)
        self._known = frozenset(self.marks)

    def restore(self, rank: Rank, uuid: str) -> None:
        """Give a rank what it had when the agent ended, if it is met again by this ring: where none of its rings
        was counted, it is of another run that has the same name."""
        if uuid in self._known:
            for name, value in self._ranks.pop((rank.run_id, rank.rank), {}).items():
                setattr(rank, name, value)

    def save(self, now: float, rings: Iterable[str], ranks: Iterable[Rank], at_once: bool = False) -> None:
        """Keep the ranks and the marks (in any case of these rings) when it is time; `now`: monotonic, s."""
        if not at_once and now < self._saved_at + SAVE_SECONDS:
            return
        self._saved_at = now
        here = set(rings)
        gone = [uuid for uuid in self.marks if uuid not in here]
        for uuid in gone[: max(0, len(self.marks) - MOST_LEFT)]:
            del self.marks[uuid]
        if at_once:
            self._wait()
        document = _document(self.marks, ranks)
        if document != self._saved and (self._writer is None or not self._writer.is_alive()):
            self._write(document)
        if at_once:
            self._wait()

    def _write(self, document: dict[str, Any]) -> None:
        """In a thread of its own: a disk that is busy with a checkpoint does not keep anybody from the steps."""
        self._saved = document
        self._writer = Thread(target=self._kept.save, args=(document,), name="counted-steps", daemon=True)
        self._writer.start()

    def _wait(self) -> None:
        """For what is being written, also where nothing came after it."""
        if self._writer is not None:
            self._writer.join(CLOSE_SECONDS)


def _document(marks: Mapping[str, Mark], ranks: Iterable[Rank]) -> dict[str, Any]:
    counted = [
        [rank.run_id, rank.rank, dict(rank.totals), rank.steps, rank.lost, rank.flops, rank.tokens_worked]
        for rank in ranks
    ]
    return {"rings": {uuid: [mark.record, mark.retries] for uuid, mark in marks.items()}, "ranks": counted}


def _decoded(
    document: Mapping[str, Any],
) -> tuple[dict[str, Mark], dict[tuple[str, int], dict[str, Any]]]:
    """Marks, and attributes of ranks. Raises TypeError, ValueError and AttributeError for what no agent wrote."""
    rings = document.get("rings", {}).items()
    marks = {uuid: Mark(int(record), float(retries)) for uuid, (record, retries) in rings}
    ranks = {}
    for run_id, rank, totals, steps, lost, flops, worked in document.get("ranks", ()):
        ranks[str(run_id), int(rank)] = {
            "totals": {str(name): float(value) for name, value in totals.items()},
            "steps": int(steps),
            "lost": int(lost),
            "flops": None if flops is None else float(flops),
            "tokens_worked": float(worked),
        }
    return marks, ranks
