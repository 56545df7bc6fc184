"""A study's knobs as Optuna's distributions, and values to and fro."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from optuna import Trial
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from paceline_exporters.messages import canonical
from paceline_tuner.study.conditions import is_active
from paceline_tuner.study.spec import Knob, StudySpec

from .warm import inside

SCALARS = (str, int, float, bool, type(None))


def structured(knob: Knob) -> bool:
    """Whether a choice holds values that Optuna cannot; they travel as canonical JSON text."""
    return any(not isinstance(choice, SCALARS) for choice in knob.choices)


def encode(knob: Knob, value: Any) -> Any:
    """A knob's value as Optuna's parameter."""
    if structured(knob):
        return canonical(value)
    return float(value) if knob.kind == "float" else value


def decode(knob: Knob, parameter: Any) -> Any:
    """Optuna's parameter as the knob's value."""
    return json.loads(parameter) if structured(knob) else parameter


def distribution(knob: Knob) -> BaseDistribution:
    """The values that `knob` may take."""
    if knob.kind == "choice":
        return CategoricalDistribution([encode(knob, choice) for choice in knob.choices])
    low, high = knob.low or 0, knob.high or 0
    if knob.kind == "int":
        return IntDistribution(int(low), int(high), log=knob.log, step=int(knob.step or 1))
    return FloatDistribution(low, high, log=knob.log, step=knob.step)


def suggest(trial: Trial, spec: StudySpec) -> dict[str, Any]:
    """A value for each knob that is asked for, in the knobs' order; conditions look at those before."""
    params: dict[str, Any] = {}
    for knob in spec.knobs:
        if is_active(knob, params):
            params[knob.name] = decode(knob, _ask(trial, knob))
    return params


def _ask(trial: Trial, knob: Knob) -> Any:
    space = distribution(knob)
    if isinstance(space, CategoricalDistribution):
        return trial.suggest_categorical(knob.name, space.choices)
    if isinstance(space, IntDistribution):
        return trial.suggest_int(knob.name, space.low, space.high, log=space.log, step=space.step)
    assert isinstance(space, FloatDistribution)
    return trial.suggest_float(knob.name, space.low, space.high, log=space.log, step=space.step)


def place(
    spec: StudySpec, params: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, BaseDistribution]] | None:
    """`params` as Optuna's parameters and their distributions; None when they lie outside the space."""
    active = [knob for knob in spec.knobs if is_active(knob, params)]
    if {knob.name for knob in active} != set(params):
        return None
    if not all(_fits(knob, params[knob.name]) for knob in active):
        return None
    values = {knob.name: encode(knob, params[knob.name]) for knob in active}
    return values, {knob.name: distribution(knob) for knob in active}


def _fits(knob: Knob, value: Any) -> bool:
    """Whether Optuna takes `value`, which also has to lie on a step; asked first, since it raises otherwise."""
    if not inside(knob, value):
        return False
    space = distribution(knob)
    return space._contains(space.to_internal_repr(encode(knob, value)))
