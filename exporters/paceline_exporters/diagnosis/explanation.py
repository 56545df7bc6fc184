"""What `explain` answers: the verdict on a run, what it rests on, and what it could not see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self, TypeVar

from ..messages import SCHEMA, Event, MessageError, require
from .evidence import Evidence
from .findings import Finding, Verdict
from .jobsteps import JobStep
from .phases import TOKENS, WORK, first
from .run import RunDiagnosis

T = TypeVar("T")

LEARNING_STEPS = 20
"""Before that, stragglers and slower communication are not judged: warm-up and the first normal."""
TOLD_EVENTS = ("oom", "nan", "exception", "rejected", "end")
"""Kinds of `layout.EVENT_KINDS` that say how a rank fares or ended."""
MOST_RANKS_NAMED = 16
LEAST_KNOWN = 0.5
"""Share of the latest steps in which a field has to be known."""
# Fields of which none is known, or seldom; of runs with so many ranks or more; what cannot be said for that.
BLIND: Sequence[tuple[tuple[str, ...], int, str]] = (
    (
        WORK["backward"],
        2,
        "The backward pass is split into work and waiting {times}: whether a rank is slow in it is seen late or "
        "not at all, and communication is not judged.",
    ),
    (
        WORK["data_wait"],
        1,
        "Waiting for the data loader is measured {times}: of a loop that reads its data by itself, it is in what "
        "none of its phases is, and in a single process in forward.",
    ),
    (TOKENS, 2, "Tokens and samples are counted {times}: a long batch and a slow rank look alike."),
)
# Evidence of which none was sampled; of runs with so many ranks or more; what cannot be said for that.
UNSAMPLED: Sequence[tuple[Sequence[str], int, str]] = (
    (("gpu_utilization_ratio", "gpu_throttled_ratio"), 1, "No GPU was sampled: a throttled one cannot be told."),
    (
        ("nic_errors_per_second", "nic_pause_ratio", "ports_down"),
        2,
        "No RDMA port was sampled: slow communication cannot be laid to one.",
    ),
)


@dataclass(frozen=True)
class RankState:
    """One rank whose records were seen."""

    rank: int
    node: str
    alive: bool
    events: Sequence[Event] = ()
    """Those of TOLD_EVENTS."""
    lost: bool = False
    """Its process ended, and its training had not: it was killed."""
    step: int | None = None
    """The latest optimizer step that it ended; None before the first, and where it is not known."""


@dataclass(frozen=True)
class Explanation:
    """Of the latest attempt of a run, as far as whoever explains it sees it."""

    run_id: str
    attempt: int
    world_size: int
    ranks: Sequence[RankState]
    steps: Sequence[int]
    """First and last optimizer step that the verdict rests on, to a block; empty: none is known."""
    verdict: Verdict
    history: Sequence[Finding] = ()
    """All findings, also those that hold no more, oldest first."""
    evidence: Mapping[int, Evidence] = field(default_factory=dict)
    """What each rank's node saw lately."""
    missing: Sequence[str] = ()
    """What is not known, and what that keeps from being said; a sentence each."""
    stacks: Sequence[str] = ()
    """Of each standstill whose stacks were kept: where its ranks were, and the directory; latest first."""

    @property
    def alive(self) -> bool:
        """Whether any rank seen lives."""
        return any(one.alive for one in self.ranks)

    @property
    def unseen(self) -> list[int]:
        """Ranks of the run of which nothing is known."""
        return unseen(self.world_size, (one.rank for one in self.ranks))

    def encode(self) -> dict[str, Any]:
        """As a JSON object."""
        evidence = {str(rank): dict(seen) for rank, seen in self.evidence.items()}
        return {"schema": SCHEMA, **asdict(self), "evidence": evidence, "alive": self.alive}

    @classmethod
    def decode(cls, data: Mapping[str, Any]) -> Self:
        """From a JSON object; raises MessageError."""
        verdict = dict(require(data, "verdict", dict))
        verdict["findings"] = [_plain(Finding, one) for one in require(verdict, "findings", list)]
        evidence = require(data, "evidence", dict)
        return cls(
            run_id=require(data, "run_id", str),
            attempt=require(data, "attempt", int),
            world_size=require(data, "world_size", int),
            ranks=[_rank(one) for one in require(data, "ranks", list)],
            steps=require(data, "steps", list),
            verdict=_plain(Verdict, verdict),
            history=[_plain(Finding, one) for one in require(data, "history", list)],
            evidence={int(rank): require(evidence, rank, dict) for rank in evidence if rank.isdecimal()},
            missing=require(data, "missing", list),
            stacks=require(data, "stacks", list) if "stacks" in data else (),
        )


def explain(
    diagnosis: RunDiagnosis,
    run_id: str,
    attempt: int,
    world_size: int,
    ranks: Sequence[RankState],
    before: Iterable[Finding] = (),
) -> Explanation:
    """What the diagnosis says of its run; `before`: findings on steps that it was not fed."""
    latest = diagnosis.latest
    return Explanation(
        run_id=run_id,
        attempt=attempt,
        world_size=world_size,
        ranks=ranks,
        steps=(latest[0].number, latest[-1].number) if latest else (),
        verdict=diagnosis.verdict(),
        history=[*before, *diagnosis.findings],
        evidence=dict(diagnosis.evidence),
        missing=list(_missing(latest, diagnosis.evidence, world_size, (one.rank for one in ranks))),
    )


def unseen(world_size: int, ranks: Iterable[int]) -> list[int]:
    """Ranks of a run that are not among these."""
    return sorted(set(range(world_size)) - set(ranks))


def told(events: Iterable[Event]) -> list[Event]:
    """Of a rank's events those that say how it fares or ended."""
    return [event for event in events if event.kind in TOLD_EVENTS]


def _missing(
    latest: Sequence[JobStep], evidence: Mapping[int, Evidence], world_size: int, seen: Iterable[int]
) -> Iterator[str]:
    if away := unseen(world_size, seen):
        named = ", ".join(map(str, away[:MOST_RANKS_NAMED])) + (", ..." if len(away) > MOST_RANKS_NAMED else "")
        ranks, slow = ("rank", "it") if len(away) == 1 else ("ranks", "one of them")
        yield f"Of {len(away)} {ranks} nothing is seen from here ({named}): {slow} may be the slow one."
    if len(latest) < LEARNING_STEPS:
        yield (f"Stragglers and changes are judged after {LEARNING_STEPS} steps; {len(latest)} are known.")
    for names, least_ranks, text in BLIND if latest else ():
        known = sum(bool(first(step, names)) for step in latest)
        if known < LEAST_KNOWN * len(latest) and world_size >= least_ranks:
            yield text.format(times=f"in {known} of {len(latest)} steps only" if known else "in no step")
    sampled = {name for one in evidence.values() for name in one}
    for evidenced, least_ranks, text in UNSAMPLED:
        if sampled.isdisjoint(evidenced) and world_size >= least_ranks:
            yield text


def _rank(data: Mapping[str, Any]) -> RankState:
    return RankState(
        rank=require(data, "rank", int),
        node=require(data, "node", str),
        alive=require(data, "alive", bool),
        events=[Event.decode(one) for one in require(data, "events", list)],
        lost=require(data, "lost", bool) if "lost" in data else False,
        step=None if data.get("step") is None else require(data, "step", int),
    )


def _plain(kind: type[T], data: Any) -> T:
    """A dataclass of plain values; fields that this version does not know are left out."""
    if not isinstance(data, Mapping):
        raise MessageError(f"expected an object, got {data!r:.80}")
    try:
        return kind(**{one.name: data[one.name] for one in fields(kind) if one.name in data})  # type: ignore[arg-type] # T is a dataclass
    except TypeError as error:
        raise MessageError(f"not a {kind.__name__.lower()}: {error}") from error
