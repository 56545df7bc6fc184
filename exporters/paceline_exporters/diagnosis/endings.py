"""Ranks that train no more while others do, and the words for them: one that was killed leaves none itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..messages import Event
from .findings import Finding, Verdict

LAST_EVENTS = ("exception", "rejected", "end")
IN_ORDER = ("finished", "exit")
"""Words of a rank whose training ended with no failure that it knew of."""
WORD_CHARACTERS = 32
MOST_NAMED = 8
"""Ranks in one sentence."""
SEE = "See how rank {rank} ended: the kernel's log (out of memory?), the job's own, the state of its node."
END = "Then end the job, all ranks: who waits for it waits for ever."


@dataclass(frozen=True)
class Ending:
    """How a rank ended."""

    step: int
    """The latest optimizer step that it ended; 0: none."""
    word: str = ""
    """What it said itself, as finished or exception; empty: nothing, so that it was killed."""

    def __str__(self) -> str:
        when = f"at step {self.step}" if self.step else "before its first step"
        return f"ended {when} ({self.word})" if self.word else f"ended without a word {when} (killed?)"


def last_word(events: Iterable[Event], before: str = "") -> str:
    """How training ended, as the rank says; empty while it goes on. `before`: what held until these events."""
    for event in events:
        if event.kind in LAST_EVENTS:
            before = str(event.detail.get("how", event.kind))[:WORD_CHARACTERS]
        elif event.kind == "first_step":
            before = ""
    return before


def waited_for(gone: Mapping[int, Ending]) -> int | None:
    """Whom the others wait for, of the ranks that are gone."""
    return min(gone, key=lambda rank: (gone[rank].step, gone[rank].word, rank), default=None)


def with_gone(told: Verdict, gone: Mapping[int, Ending], nodes: Mapping[int, str]) -> Verdict:
    """The verdict with the ranks that were killed, and with the one that is waited for in a standstill; `nodes`:
    where ranks run."""
    hung = next((one for one in told.findings if one.kind == "hang" and one.rank in gone), None)
    worth = {rank: how for rank, how in gone.items() if not how.word or (hung and rank == hung.rank)}
    first = waited_for(worth)
    if first is None:
        return told
    said, see = " ".join(_sentences(worth, nodes)), SEE.format(rank=first)
    if hung is None:
        return replace(told, summary=f"{said} {told.summary}", advice=see)
    return replace(told, summary=f"{said} {_waiting(hung)}", advice=f"{see} {END}")


def _sentences(gone: Mapping[int, Ending], nodes: Mapping[int, str]) -> Iterator[str]:
    """One for all ranks that ended alike, the earliest first."""
    for how in sorted(set(gone.values()), key=lambda one: (one.step, one.word)):
        yield f"{_named(sorted(rank for rank in gone if gone[rank] == how), nodes)} {how}."


def _named(ranks: Sequence[int], nodes: Mapping[int, str]) -> str:
    if len(ranks) == 1:
        node = nodes.get(ranks[0])
        return f"Rank {ranks[0]} on {node}" if node else f"Rank {ranks[0]}"
    more = f" and {len(ranks) - MOST_NAMED} more" if len(ranks) > MOST_NAMED else ""
    return f"Ranks {', '.join(map(str, ranks[:MOST_NAMED]))}{more}"


def _waiting(hung: Finding) -> str:
    silent, phase = hung.numbers.get("silent_seconds", 0.0), hung.phase or "an unknown phase"
    return f"The others have waited for {silent:.0f} s, in {phase}."
