"""A copy of each study in Optuna's own tables, for Optuna's own tools (dashboard, plots, importances)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial

from paceline_tuner.study.spec import StudySpec

from .space import place

NUMBER = "paceline_trial"
"""User attribute that holds our trial's number, by which a trial is added only once."""
STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


class Mirror:
    """Optuna's storage in our database; to be used on the database's own thread, outside transactions."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._storage: RDBStorage | None = None
        self._studies: dict[str, tuple[optuna.Study, set[int]]] = {}

    def add(
        self, spec: StudySpec, number: int, params: Mapping[str, Any], state: str, value: float | None
    ) -> None:
        """Add a finished trial unless it is there; raises what SQLAlchemy and Optuna raise."""
        study, numbers = self._studies.get(spec.name) or self._open(spec)
        if number in numbers:
            return
        placed, spaces = place(spec, params) or ({}, {})
        study.add_trial(
            create_trial(
                state=STATES[state],
                value=value if state == "complete" else None,
                params=placed,
                distributions=spaces,
                user_attrs={NUMBER: number},
            )
        )
        numbers.add(number)

    def forget(self) -> None:
        """Look again at what is stored, after an error."""
        self._studies.clear()

    def close(self) -> None:
        """Let go of the database."""
        if self._storage is not None:
            self._storage.remove_session()
            self._storage.engine.dispose()
            self._storage = None

    def _open(self, spec: StudySpec) -> tuple[optuna.Study, set[int]]:
        if self._storage is None:
            optuna.logging.set_verbosity(optuna.logging.WARNING)
            self._storage = RDBStorage(self._url, engine_kwargs={"connect_args": {"timeout": 10}})
        study = optuna.create_study(
            study_name=spec.name,
            storage=self._storage,
            direction=spec.objective.direction,
            load_if_exists=True,
        )
        trials = study.get_trials(deepcopy=False)
        entry = (study, {int(trial.user_attrs[NUMBER]) for trial in trials if NUMBER in trial.user_attrs})
        self._studies[spec.name] = entry
        return entry
