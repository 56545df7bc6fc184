"""Ranks that are gone, and the words for them: one that was killed leaves none itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ..messages import Event
from .findings import Finding, Verdict

LAST_EVENTS = ("exception", "rejected", "end")
MOST_NAMED = 8
"""Ranks in one sentence."""
SEE = "See how rank {rank} ended: the kernel's log (out of memory?), the job's own, the state of its node."
END = "Then end the job, all ranks: who waits for it waits for ever."


def training_ended(events: Iterable[Event], before: bool = False) -> bool:
    """Whether training ended by its own word and did not begin again; `before`: what held until then."""
    for event in events:
        before = event.kind in LAST_EVENTS or (before and event.kind != "first_step")
    return before


def last_words(step: int | None) -> str:
    """Of a rank whose process ended and said nothing; `step`: the latest that it ended, None and 0: none."""
    return f"ended without a word {f'at step {step}' if step else 'before its first step'} (killed?)"


def with_lost(told: Verdict, lost: Mapping[int, int], nodes: Mapping[int, str]) -> Verdict:
    """The verdict with the ranks that ended without a word: rank -> its latest step, and on which node."""
    if not lost:
        return told
    hung = next((one for one in told.findings if one.kind == "hang"), None)
    said = " ".join(_sentences(lost, nodes))
    see = SEE.format(rank=min(lost, key=lambda rank: (lost[rank], rank)))
    if hung is None or hung.rank not in lost:
        return replace(told, summary=f"{said} {told.summary}", advice=see)
    return replace(told, summary=f"{said} {_waiting(hung)}", advice=f"{see} {END}")


def _sentences(lost: Mapping[int, int], nodes: Mapping[int, str]) -> Iterator[str]:
    """One for each step at which ranks ended, the earliest first."""
    for step in sorted(set(lost.values())):
        ranks = sorted(rank for rank in lost if lost[rank] == step)
        yield f"{_named(ranks, nodes)} {last_words(step)}."


def _named(ranks: Sequence[int], nodes: Mapping[int, str]) -> str:
    if len(ranks) == 1:
        node = nodes.get(ranks[0])
        return f"Rank {ranks[0]} on {node}" if node else f"Rank {ranks[0]}"
    more = f" and {len(ranks) - MOST_NAMED} more" if len(ranks) > MOST_NAMED else ""
    return f"Ranks {', '.join(map(str, ranks[:MOST_NAMED]))}{more}"


def _waiting(hung: Finding) -> str:
    silent, phase = hung.numbers.get("silent_seconds", 0.0), hung.phase or "an unknown phase"
    return f"The others have waited for {silent:.0f} s, in {phase}."
