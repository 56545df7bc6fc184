"""One study in the sampler's memory: what is known goes in, the next parameters come out.

Nothing here is durable and nothing here decides: a search can be thrown away and made again from the history.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from paceline_exporters.messages import canonical
from paceline_tuner.study.spec import StudySpec

from .samplers import KINDS, choose, startup_trials
from .space import place, suggest

BEST = LATEST = 250
"""Of a long history a slow sampler is given this many of its best and of its latest trials."""
SLACK = 250
"""Trials above that before the history is cut again."""
RESAMPLES = 5

Params = Mapping[str, Any]
FinishedState = Literal["complete", "failed", "pruned"]


@dataclass(frozen=True)
class Finished:
    """A trial with its end."""

    number: int
    params: Params
    state: FinishedState
    value: float | None


class Search:
    """One study."""

    def __init__(self, spec: StudySpec, known: int) -> None:
        """`known` trials exist already: the random numbers go on from there instead of starting over."""
        self._spec = spec
        self._name, self.note = choose(spec.sampler)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # QMC is, and the study's author chose it
            self._sampler = KINDS[self._name].make(spec.seed, known, startup_trials(spec.budget.trials))
        self._random = RandomSampler(seed=spec.seed + known)
        self._study = self._fresh([])
        self._live: dict[int, int] = {}
        """Our number -> Optuna's, of trials that run."""
        self._offered: tuple[int, str] | None = None
        """Optuna's number and canonical parameters of what was last suggested."""
        self._seen: set[str] = set()
        self._finished: dict[int, Finished] = {}

    def suggest(self, finished: Sequence[Finished], running: Mapping[int, Params]) -> dict[str, Any]:
        """Parameters for the next trial; `finished` are new since the last call, `running` are all that run."""
        self._settle_offer(running)
        for trial in finished:
            self._finish(trial)
        for number, params in running.items():
            self._run(number, params)
        self._cut()
        return self._next()

    def importance(self, finished: Sequence[Finished]) -> dict[str, float]:
        """Knob -> share of the variation of the objective that it explains; empty while too little is known."""
        for trial in finished:
            self._finish(trial)
        trials = [frozen for trial in self._finished.values() if (frozen := self._frozen(trial, imputed=False))]
        complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        if len({trial.value for trial in complete}) < 2:
            return {}
        study = self._fresh(complete)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # small studies: Optuna says on every call that they are small
            found = optuna.importance.get_param_importances(study)
        return {name: float(share) for name, share in found.items()}

    def _fresh(self, trials: Sequence[FrozenTrial]) -> optuna.Study:
        study = optuna.create_study(direction=self._spec.objective.direction, sampler=self._sampler)
        study.add_trials(trials)
        return study

    def _settle_offer(self, running: Mapping[int, Params]) -> None:
        """What was suggested last either runs now, or was not wanted."""
        if self._offered is None:
            return
        offered, params = self._offered
        self._offered = None
        taken = next((n for n, p in running.items() if n not in self._live and canonical(p) == params), None)
        if taken is None:
            self._study.tell(offered, state=TrialState.FAIL)
        else:
            self._live[taken] = offered

    def _finish(self, trial: Finished) -> None:
        self._finished[trial.number] = trial
        self._seen.add(canonical(trial.params))
        frozen = self._frozen(trial, imputed=True)
        live = self._live.pop(trial.number, None)
        if live is None:
            if frozen is not None:
                self._study.add_trial(frozen)
        elif frozen is None or frozen.state != TrialState.COMPLETE:
            self._study.tell(live, state=TrialState.FAIL if frozen is None else frozen.state)
        else:
            self._study.tell(live, frozen.value)

    def _frozen(self, trial: Finished, imputed: bool) -> FrozenTrial | None:
        """As Optuna takes it; None when its parameters are not in the space.

        A failed configuration must not be forgotten: TPE ranks a pruned trial without values last, and the
        Gaussian process, which looks at complete trials only, is told the worst value seen.
        """
        placed = place(self._spec, trial.params)
        if placed is None:
            return None
        params, spaces = placed
        state, value = (
            TrialState[{"complete": "COMPLETE", "failed": "PRUNED", "pruned": "PRUNED"}[trial.state]],
            None,
        )
        if trial.state == "complete":
            value = trial.value
        elif imputed and self._name == "gp" and (worst := self._worst()) is not None:
            state, value = TrialState.COMPLETE, worst
        return create_trial(state=state, value=value, params=params, distributions=spaces)

    def _worst(self) -> float | None:
        values = [trial.value for trial in self._finished.values() if trial.value is not None]
        if not values:
            return None
        return min(values) if self._spec.objective.direction == "maximize" else max(values)

    def _run(self, number: int, params: Params) -> None:
        self._seen.add(canonical(params))
        if number in self._live or (placed := place(self._spec, params)) is None:
            return
        self._study.add_trial(create_trial(state=TrialState.RUNNING, params=placed[0], distributions=placed[1]))
        self._live[number] = len(self._study.get_trials(deepcopy=False)) - 1

    def _next(self) -> dict[str, Any]:
        """A suggestion that was not measured yet, if a few tries give one."""
        tries = RESAMPLES + (len(self._seen) if self._name == "qmc" else 0)
        for attempt in range(tries + 1):
            trial = self._study.ask()
            params = suggest(trial, self._spec)
            key = canonical(params)
            if key not in self._seen or attempt == tries:
                self._offered = (trial.number, key)
                return params
            self._study.tell(trial.number, state=TrialState.FAIL)
            if attempt and self._name != "qmc":
                params = self._elsewhere()
                if canonical(params) not in self._seen:
                    return params
        raise AssertionError("unreachable: the last attempt is always taken")

    def _elsewhere(self) -> dict[str, Any]:
        """A random point: where a sampler is sure of itself, asking it again gives the same answer again."""
        study = optuna.create_study(sampler=self._random)
        return suggest(study.ask(), self._spec)

    def _cut(self) -> None:
        """Rebuild the study from the best and the latest trials once it has grown too long for its sampler."""
        if not KINDS[self._name].capped or len(self._study.get_trials(deepcopy=False)) <= BEST + LATEST + SLACK:
            return
        live = {ours: self._study.get_trials(deepcopy=False)[theirs] for ours, theirs in self._live.items()}
        ended = [
            trial
            for trial in self._study.get_trials(deepcopy=False)
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        ]
        rising = self._spec.objective.direction == "minimize"
        valued = [trial for trial in ended if trial.value is not None]
        best = sorted(valued, key=lambda trial: (trial.value or 0.0) if rising else -(trial.value or 0.0))[:BEST]
        numbers = {trial.number for trial in best} | {trial.number for trial in ended[-LATEST:]}
        kept = [trial for trial in ended if trial.number in numbers]
        self._study = self._fresh([*kept, *live.values()])
        self._live = {ours: len(kept) + place for place, ours in enumerate(live)}
