"""One unit of work on the database: a transaction, the time, the settings, and what it changed."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from paceline_tuner.study.codec import spec_from_json
from paceline_tuner.study.compose import Baseline
from paceline_tuner.study.spec import StudySpec

from .errors import NotFound
from .settings import Settings
from .tables import TENANT, events, runs, studies, trials

Record = Row[Any]


@dataclass
class Work:
    """What every function that touches the database is given."""

    connection: Connection
    now: float
    """Unix time, seconds."""
    settings: Settings
    started: float
    """When the service started, Unix time: silence before that is the service's own."""
    changed: set[str] = field(default_factory=set)
    """Names of studies of which the sampler must hear."""

    def study(self, name: str) -> Record:
        """The study `name`, or NotFound."""
        query = select(studies).where(studies.c.tenant == TENANT, studies.c.name == name)
        if (row := self.connection.execute(query).one_or_none()) is None:
            raise NotFound(f"no study {name!r}: POST it to /v1/studies first, or check the name")
        return row

    def study_by_id(self, study_id: int) -> Record:
        """The study with this key."""
        return self.connection.execute(select(studies).where(studies.c.id == study_id)).one()

    def find_run(self, run_id: str) -> Record | None:
        """The run `run_id` if it is ours."""
        return self.connection.execute(select(runs).where(runs.c.run_id == run_id)).one_or_none()

    def run(self, run_id: str) -> Record:
        """The run `run_id`, or NotFound."""
        if (row := self.find_run(run_id)) is None:
            raise NotFound(f"no run {run_id!r}: only runs that this tuner proposed can be reported to it")
        return row

    def trial(self, study_id: int, number: int) -> Record:
        """A trial of a study."""
        query = select(trials).where(trials.c.study_id == study_id, trials.c.number == number)
        return self.connection.execute(query).one()

    def update_study(self, study: Record, **columns: Any) -> Record:
        """Change columns of a study; returns it as it is now."""
        self.connection.execute(update(studies).where(studies.c.id == study.id).values(**columns))
        return self.study_by_id(study.id)

    def update_run(self, run: Record, **columns: Any) -> Record:
        """Change columns of a run; returns it as it is now."""
        self.connection.execute(update(runs).where(runs.c.run_id == run.run_id).values(**columns))
        return self.run(run.run_id)

    def update_trial(self, trial: Record, **columns: Any) -> None:
        """Change columns of a trial."""
        self.connection.execute(update(trials).where(trials.c.id == trial.id).values(**columns))

    def log(self, study: Record, kind: str, text: str, run_id: str | None = None, **detail: Any) -> None:
        """Note in the study's log what was decided, and why."""
        self.connection.execute(
            insert(events).values(
                study_id=study.id, run_id=run_id, kind=kind, at=self.now, text=text, detail=detail
            )
        )


def spec_of(study: Record) -> StudySpec:
    """A stored study's specification."""
    return _spec(study.spec)


@functools.lru_cache(maxsize=256)
def _spec(text: str) -> StudySpec:
    return spec_from_json(json.loads(text))


def baseline_of(study: Record) -> Baseline | None:
    """What the study's default run ran with, once it is known."""
    return None if study.baseline is None else Baseline(**study.baseline)


def better(spec: StudySpec) -> Callable[[float, float], bool]:
    """`better(spec)(a, b)`: whether the value a is better than b."""
    return (lambda a, b: a > b) if spec.objective.direction == "maximize" else (lambda a, b: a < b)
