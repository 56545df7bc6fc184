"""What the database holds, counted for /metrics: all in all, and study by study for the latest of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, case, func, select

from .states import OPEN_STATES
from .tables import TENANT, events, runs, studies, trials
from .work import Record, Work, spec_of

MOST_STUDIES = 100
"""Studies that are shown one by one; those that go on first, then the latest."""
GOING_ON = ("search", "proof")

ByState = Mapping[str, int]
Closing = tuple[str, str]
"""Outcome and cause of a run."""
CLOSINGS: tuple[Closing, ...] = (
    ("finished", "done"),
    *(("failed", cause) for cause in ("crash", "hang", "killed", "nan", "oom", "partial")),
    ("rejected", "rejected"),
    ("pruned", "stopped"),
    ("interrupted", "interrupted"),
    ("lost", "lost"),
)
"""Counted from 0 in every study, so that the first one is seen to happen; others are counted when they come."""


@dataclass(frozen=True)
class StudyCount:
    """One study."""

    name: str
    state: str
    objective: str
    """What its values are, such as tokens_per_second or eval_loss."""
    direction: str
    verdict: str
    """The proof's, with underscores; empty before it."""
    ended_at: float | None
    """Unix time."""
    trials: ByState
    of_trials: int
    """The budget."""
    open_runs: ByState
    closed: Mapping[Closing, int]
    best: float | None
    default: float | None
    proof: Mapping[str, float | None]
    """ratio, low, high."""


@dataclass(frozen=True)
class Census:
    """All of it."""

    trials: ByState
    open_runs: ByState
    studies: tuple[StudyCount, ...]
    hidden: int
    """Studies that are not shown one by one."""


class Closings:
    """Runs closed so far by study. Counted from the log, which only grows: a run that was taken for lost and came
    back was lost all the same, and no count ever goes down. Each entry is read once."""

    def __init__(self) -> None:
        self._counts: defaultdict[int, Counter[Closing]] = defaultdict(Counter)
        self._last = 0

    def read(self, work: Work) -> Mapping[int, Counter[Closing]]:
        """Study's key -> its closings, up to now."""
        outcome, cause = (events.c.detail[key].as_string() for key in ("outcome", "cause"))
        latest = work.connection.execute(select(func.max(events.c.id))).scalar_one() or 0
        query = (
            select(events.c.study_id, outcome, cause, func.count())
            .where(events.c.id > self._last, events.c.id <= latest)
            .where(events.c.kind == "run", events.c.ring.is_(None))
            .group_by(events.c.study_id, outcome, cause)
        )
        for study_id, *closing, count in work.connection.execute(query).all():
            self._counts[study_id][closing[0] or "", closing[1] or ""] += count
        self._last = latest
        return self._counts


def take(work: Work, closings: Closings) -> Census:
    """Count everything now."""
    shown, total = _shown(work), work.connection.execute(select(func.count()).select_from(studies)).scalar_one()
    ids = [study.id for study in shown]
    by_trial = _by_state(work, trials.c.study_id, trials.c.state, trials.c.study_id.in_(ids))
    by_run = _by_state(work, runs.c.study_id, runs.c.state, runs.c.state.in_(OPEN_STATES))
    values, closed = _values(work, ids), closings.read(work)
    return Census(
        trials=_all_trials(work),
        open_runs=_sum(by_run.values()),
        studies=tuple(
            _study(row, by_trial[row.id], by_run[row.id], closed.get(row.id, {}), values.get(row.id))
            for row in shown
        ),
        hidden=total - len(shown),
    )


def _shown(work: Work) -> list[Record]:
    first = case((studies.c.state.in_(GOING_ON), 0), else_=1)
    query = select(studies).where(studies.c.tenant == TENANT).order_by(first, studies.c.id.desc())
    rows = work.connection.execute(query.limit(MOST_STUDIES)).all()
    return sorted(rows, key=lambda row: int(row.id))


def _by_state(
    work: Work, study: Column[int], state: Column[str], where: ColumnElement[bool]
) -> defaultdict[int, dict[str, int]]:
    found: defaultdict[int, dict[str, int]] = defaultdict(dict)
    query = select(study, state, func.count()).where(where).group_by(study, state)
    for study_id, name, count in work.connection.execute(query):
        found[study_id][name] = count
    return found


def _all_trials(work: Work) -> dict[str, int]:
    query = select(trials.c.state, func.count()).group_by(trials.c.state)
    return {row[0]: row[1] for row in work.connection.execute(query)}


def _sum(counts: Iterable[ByState]) -> Counter[str]:
    total = Counter[str]()
    for count in counts:
        total.update(count)
    return total


def _values(work: Work, ids: list[int]) -> dict[int, Record]:
    """Study's key -> highest and lowest value of its complete trials, and the default's."""
    default = func.max(case((trials.c.number == 0, trials.c.value)))
    query = (
        select(
            trials.c.study_id,
            func.max(trials.c.value).label("maximize"),
            func.min(trials.c.value).label("minimize"),
            default.label("default"),
        )
        .where(trials.c.state == "complete", trials.c.study_id.in_(ids))
        .group_by(trials.c.study_id)
    )
    rows: list[Record] = list(work.connection.execute(query))
    return {row.study_id: row for row in rows}


def _study(
    row: Record, by_trial: ByState, by_run: ByState, closed: Mapping[Closing, int], values: Record | None
) -> StudyCount:
    spec, proof = spec_of(row), row.proof or {}
    objective = spec.objective
    final = objective.kind == "final"
    return StudyCount(
        name=row.name,
        state=row.state,
        objective=objective.metric if final else f"{objective.unit}_per_second",
        direction=objective.direction,
        verdict=str(proof.get("verdict") or "").replace(" ", "_"),
        ended_at=row.ended_at,
        trials=by_trial,
        of_trials=spec.budget.trials,
        open_runs=by_run,
        closed={**dict.fromkeys(CLOSINGS, 0), **closed},
        best=_value(values, objective.direction),
        default=_value(values, "default"),
        proof={key: proof.get(key) for key in ("ratio", "low", "high")},
    )


def _value(values: Record | None, name: str) -> Any:
    return None if values is None else getattr(values, name)
