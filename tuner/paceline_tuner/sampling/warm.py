"""The default run as the sampler's first lesson: the knobs' values that the job uses by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paceline_tuner.study.compose import Baseline
from paceline_tuner.study.conditions import is_active
from paceline_tuner.study.spec import Knob, StudySpec


def default_params(spec: StudySpec, baseline: Baseline) -> dict[str, Any] | None:
    """Knob -> the default run's own value; None unless each knob's value is known and lies in the space."""
    params: dict[str, Any] = {}
    for knob in spec.knobs:
        if not is_active(knob, params):
            continue
        known, value = _own(knob, spec, baseline)
        if not known or not inside(knob, value):
            return None
        params[knob.name] = value
    return params


def _own(knob: Knob, spec: StudySpec, baseline: Baseline) -> tuple[bool, Any]:
    """Whether the default's value of `knob` is known, and the value."""
    if knob.target == "ddp":
        return True, baseline.ddp.get(knob.key)  # None is torch's own *unset*
    sources: dict[str, Mapping[str, Any]] = {
        "arguments": baseline.arguments,
        "env": spec.env or {},
        "placeholders": spec.defaults or {},
    }
    source = sources[knob.target]
    return knob.key in source, source.get(knob.key)


def inside(knob: Knob, value: Any) -> bool:
    """Whether `knob` can take `value`; 1 and true are different things."""
    if knob.kind == "choice":
        return any(type(choice) is type(value) and choice == value for choice in knob.choices)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if knob.low is None or knob.high is None or not knob.low <= value <= knob.high:
        return False
    return knob.kind == "float" or value == int(value)
