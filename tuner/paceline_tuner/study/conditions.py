"""Knobs that are asked for only where another knob has certain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from paceline_exporters.messages import canonical

from .legal import is_number
from .spec import Condition, Knob


def is_active(knob: Knob, params: Mapping[str, Any]) -> bool:
    """Whether `knob` is asked for, given the values (knob name -> value) of the knobs before it."""
    return knob.when is None or (knob.when.knob in params and params[knob.when.knob] in knob.when.values)


def ordered(knobs: Iterable[Knob]) -> tuple[Knob, ...]:
    """The same knobs, each after the one its condition looks at; else in their own order.

    Knobs whose conditions go round in a circle, or look at no knob of the study, stay at the end.
    """
    waiting, done = list(knobs), list[Knob]()
    while waiting:
        names = {knob.name for knob in done}
        ready = next((knob for knob in waiting if knob.when is None or knob.when.knob in names), None)
        if ready is None:
            return (*done, *waiting)
        done.append(ready)
        waiting.remove(ready)
    return tuple(done)


def takes(knob: Knob, value: Any) -> bool:
    """Whether the knob can be set to `value`."""
    if knob.kind == "choice":
        return any(canonical(value) == canonical(choice) for choice in knob.choices)
    return is_number(value) and knob.low is not None and knob.high is not None and knob.low <= value <= knob.high


def reachable(knobs: Iterable[Knob]) -> tuple[Knob, ...]:
    """The knobs, each after the one its condition looks at, without those that can never be asked for.

    A knob without choices, or whose condition no longer has a value, is dropped; so are the conditions' lost
    values.
    """
    left: dict[str, Knob] = {}
    for knob in knobs:
        if knob.when is not None:
            parent = left.get(knob.when.knob)
            values = tuple(value for value in knob.when.values if parent is not None and takes(parent, value))
            if not values:
                continue
            knob = replace(knob, when=Condition(knob.when.knob, values))
        if knob.kind != "choice" or knob.choices:
            left[knob.name] = knob
    return tuple(left.values())
