"""Ranks that train no more while others do, and the words for them: one that was killed leaves none itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..messages import Event
from .findings import Finding, Verdict

LAST_EVENTS = ("exception", "rejected", "end")
IN_ORDER = ("finished", "exit")
"""Words of a rank whose training ended with no failure that it knew of."""
FAILED = ("exception", "oom")
"""Words of a rank that an exception ended; in the same way kinds of the event that has its type."""
WORD_CHARACTERS = 32
MOST_NAMED = 8
"""Ranks in one sentence."""
SEE = "See how rank {rank} ended: the kernel's log (out of memory?), the job's own, the state of its node."
READ = "Read the traceback of rank {rank} in the job's own log."
END = "Then end the job, all ranks: who waits for it waits for ever."
LOOK = "See first whether the loss is finite again: speed is of no use while it is not."


@dataclass(frozen=True)
class Ending:
    """How a rank ended."""

    step: int
    """The latest optimizer step that it ended; 0: none."""
    word: str = ""
    """What it said itself, as finished or exception; empty: nothing, so that it was killed."""
    error: str = ""
    """Type of the exception that ended it; empty: none did, or its type is not known."""
    at: float = field(default=0.0, compare=False)
    """Unix time of that exception."""

    @property
    def failed(self) -> bool:
        """Whether an exception ended it."""
        return self.word in FAILED

    def __str__(self) -> str:
        when = f"at step {self.step}" if self.step else "before its first step"
        if self.failed:
            return f"failed {when} ({self.error or self.word})"
        return f"ended {when} ({self.word})" if self.word else f"ended without a word {when} (killed?)"


@dataclass(frozen=True)
class Fate:
    """How a rank fares, as its events say."""

    word: str = ""
    """How training ended; empty: it goes on, or the rank was killed."""
    error: str = ""
    """Type of its latest exception, caught ones left out but for failed allocations."""
    at: float = 0.0
    """Unix time of that."""
    nan_step: float | None = None
    """Step of the first loss that was not finite; None where all were."""

    def after(self, events: Iterable[Event]) -> Fate:
        """With what these events say."""
        told = self
        for event in events:
            told = told._after(event)
        return told

    def ending(self, step: int | None) -> Ending:
        """How it ended after that step."""
        return Ending(step or 0, self.word, self.error, self.at)

    def _after(self, event: Event) -> Fate:
        if event.kind == "first_step":  # training begins, again maybe; its loss is told before its end is
            return Fate(nan_step=self.nan_step if self.nan_step == event.step else None)
        told = self
        if event.kind == "nan" and self.nan_step is None:
            told = replace(told, nan_step=event.step)
        if event.kind in FAILED:
            error = str(event.detail.get("type", event.kind))[:WORD_CHARACTERS]
            told = replace(told, error=error, at=event.wall)
        if event.kind in LAST_EVENTS:
            told = replace(told, word=str(event.detail.get("how", event.kind))[:WORD_CHARACTERS])
        return told


def waited_for(gone: Mapping[int, Ending]) -> int | None:
    """Whom the others wait for, of the ranks that are gone."""
    return min(gone, key=lambda rank: (gone[rank].step, gone[rank].word, rank), default=None)


def with_gone(told: Verdict, gone: Mapping[int, Ending], nodes: Mapping[int, str]) -> Verdict:
    """The verdict with the ranks that failed or were killed, and with the one that is waited for in a standstill;
    `nodes`: where ranks run."""
    hung = next((one for one in told.findings if one.kind == "hang" and one.rank in gone), None)
    worth = {
        rank: how
        for rank, how in sorted(gone.items(), key=lambda one: _order(one[1]))
        if how.failed or not how.word or (hung and rank == hung.rank)
    }
    if not worth:
        return told
    first, said = next(iter(worth)), " ".join(_sentences(worth, nodes))
    see = (READ if worth[first].failed else SEE).format(rank=first)
    if hung is None:
        return replace(told, summary=f"{said} {told.summary}", advice=see)
    return replace(told, summary=f"{said} {_waiting(hung)}", advice=f"{see} {END}")


def with_loss(told: Verdict, fates: Mapping[int, Fate], nodes: Mapping[int, str]) -> Verdict:
    """The verdict with the first loss that was not finite, where one was; `nodes`: where ranks run."""
    steps = {rank: one.nan_step for rank, one in fates.items() if one.nan_step is not None}
    if not steps:
        return told
    rank = min(steps, key=lambda rank: (steps[rank], rank))
    said = f"{_named([rank], nodes)} met the first loss that is not finite at step {steps[rank]:.15g}."
    return replace(told, summary=f"{said} {told.summary}", advice=f"{LOOK} {told.advice}")


def _order(how: Ending) -> tuple[object, ...]:
    """The earliest first. What one rank met in a step others meet after it: as an exception of their own, or by
    the launcher, which kills them."""
    return how.step, not how.failed, how.at, how.word


def _sentences(gone: Mapping[int, Ending], nodes: Mapping[int, str]) -> Iterator[str]:
    """One for all ranks that ended alike."""
    alike: dict[Ending, list[int]] = {}
    for rank, how in gone.items():
        alike.setdefault(how, []).append(rank)
    for how, ranks in alike.items():
        yield f"{_named(sorted(ranks), nodes)} {how}."


def _named(ranks: Sequence[int], nodes: Mapping[int, str]) -> str:
    if len(ranks) == 1:
        node = nodes.get(ranks[0])
        return f"Rank {ranks[0]} on {node}" if node else f"Rank {ranks[0]}"
    more = f" and {len(ranks) - MOST_NAMED} more" if len(ranks) > MOST_NAMED else ""
    return f"Ranks {', '.join(map(str, ranks[:MOST_NAMED]))}{more}"


def _waiting(hung: Finding) -> str:
    silent, phase = hung.numbers.get("silent_seconds", 0.0), hung.phase or "an unknown phase"
    return f"The others have waited for {silent:.0f} s, in {phase}."
