"""The proof's order and its end: a pure function of the pair runs so far.

Pairs alternate (default first, candidate first, ...), so that a drift of the machine favours neither. A failed
run is repeated once; a pair in which a run failed twice is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from paceline_tuner.proof.interval import Interval, enough, ratio_interval
from paceline_tuner.study.spec import Proof

Side = Literal["default", "candidate"]
ORDERS: tuple[tuple[Side, Side], ...] = (("default", "candidate"), ("candidate", "default"))
TRIES = 2
MAX_DROPPED = 3
"""Dropped pairs after which a proof with more dropped than complete pairs ends."""


@dataclass(frozen=True)
class PairRun:
    """One run of the proof."""

    pair: int
    side: Side
    standing: Literal["open", "failed", "interrupted", "finished"]
    value: float | None = None


@dataclass(frozen=True)
class Next:
    """The run that the proof needs now."""

    pair: int
    side: Side


@dataclass(frozen=True)
class Busy:
    """A run of the proof is open: they never run side by side."""


@dataclass(frozen=True)
class Verdict:
    """The proof is over."""

    default: Sequence[float]
    candidate: Sequence[float]
    dropped: int
    interval: Interval | None
    """None when no pair was complete or the values have no ratio."""
    reason: str


def plan(
    runs: Sequence[PairRun], proof: Proof, direction: Literal["maximize", "minimize"]
) -> Next | Busy | Verdict:
    """What comes next."""
    if any(run.standing == "open" for run in runs):
        return Busy()
    default: list[float] = []
    candidate: list[float] = []
    dropped = 0
    for pair in range(proof.max_pairs):
        found = _pair([run for run in runs if run.pair == pair], pair)
        if isinstance(found, Next):
            return found
        if found is None:
            dropped += 1
        else:
            default.append(found["default"])
            candidate.append(found["candidate"])
        if verdict := _over(default, candidate, dropped, proof, direction):
            return verdict
    reason = f"{len(default)} of {proof.max_pairs} pairs complete, the most the study allows"
    return Verdict(default, candidate, dropped, _interval(default, candidate, direction), reason)


def _pair(runs: Sequence[PairRun], pair: int) -> dict[Side, float] | Next | None:
    """The pair's values, the run it still needs, or None when it is dropped."""
    values: dict[Side, float] = {}
    for side in ORDERS[pair % 2]:
        mine = [run for run in runs if run.side == side]
        value = next((run.value for run in mine if run.standing == "finished" and run.value is not None), None)
        if value is not None:
            values[side] = value
        elif sum(run.standing == "failed" for run in mine) >= TRIES:
            return None
        else:
            return Next(pair, side)
    return values


def _over(
    default: Sequence[float],
    candidate: Sequence[float],
    dropped: int,
    proof: Proof,
    direction: Literal["maximize", "minimize"],
) -> Verdict | None:
    interval = _interval(default, candidate, direction) if len(default) >= proof.min_pairs else None
    reason = enough(interval, proof.min_pairs, proof.max_pairs, proof.width) if interval else None
    if dropped >= MAX_DROPPED and dropped > len(default):
        reason = f"{dropped} pairs were dropped because their runs failed twice: see the runs' logs"
    return Verdict(default, candidate, dropped, interval, reason) if reason else None


def _interval(
    default: Sequence[float], candidate: Sequence[float], direction: Literal["maximize", "minimize"]
) -> Interval | None:
    if not default or min(*default, *candidate) <= 0:
        return None
    return ratio_interval(default, candidate, direction)
