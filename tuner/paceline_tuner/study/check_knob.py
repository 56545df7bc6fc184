"""What is wrong with a study's knobs, each by itself and with the knobs its condition looks at."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from paceline_exporters.messages import canonical

from .catalogue import BY_NAME, DDP_KEYWORDS, legal_for, target_of, violated
from .conditions import takes
from .errors import Problem, did_you_mean
from .legal import Legal
from .refused import why_not_argument, why_not_env
from .spec import Condition, Knob, StudySpec

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SCALARS = (str, int, float, bool)


def knob_problems(spec: StudySpec) -> Iterator[Problem]:
    """Everything that is wrong with the study's knobs and its fixed environment."""
    if not spec.knobs:
        yield Problem(("knobs",), "expected at least one knob, such as `learning_rate: {low: 1e-5, high: 1e-3}`")
    before: dict[str, Knob] = {}
    for knob in spec.knobs:
        if knob.name in before:
            yield Problem(("knobs", knob.name), "is there twice: keep one of the two")
        yield from _problems(knob, before, spec)
        before[knob.name] = knob
    for name, value in (spec.env or {}).items():
        for text in _environment(name, value):
            yield Problem(("env", name), text)


def _problems(knob: Knob, before: dict[str, Knob], spec: StudySpec) -> Iterator[Problem]:
    """Of one knob; `before` holds those that come before it."""
    here = ("knobs", knob.name)
    if (knob.target, knob.key) != target_of(knob.name):
        yield Problem(here, f"expected target and key {target_of(knob.name)}, got {(knob.target, knob.key)}")
        return
    if reason := _name(knob):
        yield Problem(here, reason)
        return
    yield from _choices(knob) if knob.kind == "choice" else _range(knob)
    if knob.when is not None:
        yield from _condition(knob, knob.when, before)
    yield from _need(knob, before, spec)


def _name(knob: Knob) -> str | None:
    """Why there can be no knob of this name, or None."""
    if not IDENTIFIER.fullmatch(knob.key):
        return (
            f"expected a name of letters, digits and underscores, got {knob.key!r}: a knob is a "
            "TrainingArguments field, or ddp.KEYWORD, env.VARIABLE or placeholder.NAME"
        )
    checks: dict[str, Callable[[str], str | None]] = {
        "arguments": why_not_argument,
        "env": why_not_env,
        "ddp": lambda key: None if key in DDP_KEYWORDS else did_you_mean(f"ddp.{key}", _ddp_names()),
    }
    return checks[knob.target](knob.key) if knob.target in checks else None


def _ddp_names() -> list[str]:
    return [f"ddp.{keyword}" for keyword in DDP_KEYWORDS]


def _environment(name: str, value: str) -> Iterator[str]:
    reason = why_not_env(name) or complaint(f"env.{name}", value)
    if reason:
        yield reason


def complaint(name: str, value: Any) -> str | None:
    """What is wrong with `value` for the knob `name`, or None."""
    target = target_of(name)[0]
    if target == "ddp" and value is None:
        return None
    if target == "env":
        return _env_complaint(legal_for(name), value)
    if target == "placeholders" and not isinstance(value, SCALARS):
        return f"expected text, a number, true or false, got {value!r}"
    return legal_for(name).complaint(value)


def _env_complaint(legal: Legal, value: Any) -> str | None:
    """Environment variables are text; those that are numbers to NCCL are checked as numbers."""
    if not isinstance(value, str) or "\0" in value:
        return f"expected text, got {value!r}"
    return legal.complaint(value) and legal.complaint(int(value) if value.isdecimal() else value)


def _choices(knob: Knob) -> Iterator[Problem]:
    if not knob.choices or (knob.low, knob.high, knob.step, knob.log) != (None, None, None, False):
        yield Problem(("knobs", knob.name), "expected either choices or a range, low and high")
    seen = set()
    for number, choice in enumerate(knob.choices):
        where = ("knobs", knob.name, "choices", str(number))
        if canonical(choice) in seen:
            yield Problem(where, f"{choice!r} is there twice: keep one of the two")
        seen.add(canonical(choice))
        if reason := complaint(knob.name, choice):
            yield Problem(where, reason)


def _range(knob: Knob) -> Iterator[Problem]:
    here = ("knobs", knob.name)
    legal = legal_for(knob.name)
    if knob.low is None or knob.high is None or knob.choices:
        yield Problem(here, "expected either choices or a range, low and high")
    elif legal.number is None or (legal.number == "int" and knob.kind == "float"):
        yield Problem(here, f"expected {legal.text}: write whole numbers, or a list of choices")
    else:
        yield from _ends(knob, knob.low, knob.high, legal)


def _ends(knob: Knob, low: float, high: float, legal: Legal) -> Iterator[Problem]:
    here = ("knobs", knob.name)
    if low >= high:
        yield Problem((*here, "low"), f"expected less than high ({high:g}), got {low:g}")
    if knob.log and low <= 0:
        yield Problem((*here, "low"), f"expected a number above 0 with `log: true`, got {low:g}")
    if knob.step is not None and (knob.log or knob.step <= 0):
        yield Problem((*here, "step"), "expected a number above 0, and no `log: true` beside it")
    whole = knob.kind == "int"
    if whole and not all(end is None or float(end).is_integer() for end in (low, high, knob.step)):
        yield Problem(here, "expected whole numbers for low, high and step")
        return
    for name, end in (("low", low), ("high", high)):
        if reason := legal.complaint(int(end) if whole else end):
            yield Problem((*here, name), reason)


def _condition(knob: Knob, when: Condition, before: dict[str, Knob]) -> Iterator[Problem]:
    here = ("knobs", knob.name, "when")
    parent = before.get(when.knob)
    if parent is None:
        hint = did_you_mean(when.knob, before) if before else "there is none before it"
        yield Problem(
            here, f"looks at {when.knob!r}, which is no knob that can be asked for before this one: {hint}"
        )
        return
    if not when.values:
        yield Problem((*here, when.knob), "expected the values with which this knob is asked for")
    for value in when.values:
        if not takes(parent, value):
            yield Problem(
                (*here, when.knob), f"{value!r} is not among the values of {when.knob}: choose from those"
            )


def _need(knob: Knob, before: dict[str, Knob], spec: StudySpec) -> Iterator[Problem]:
    row = BY_NAME.get(knob.name)
    if row is None or row.needs is None or not violated(row, knob):
        return
    other, least = row.needs.knob, row.needs.least
    if other.startswith("env.") and _at_least((spec.env or {}).get(other.removeprefix("env."), ""), least):
        return
    if knob.when is not None and knob.when.knob == other and all(_at_least(v, least) for v in knob.when.values):
        return
    parent = before.get(other)
    if parent is not None and parent.when is None and all(_at_least(v, least) for v in _lowest(parent)):
        return
    yield Problem(
        ("knobs", knob.name),
        f"works only with {other} of at least {least}: make {other} a knob (one choice is enough), "
        f"and add `when: {{{other}: [{least}, ...]}}`",
    )


def _lowest(knob: Knob) -> tuple[Any, ...]:
    return knob.choices if knob.kind == "choice" else (knob.low,)


def _at_least(value: Any, least: int) -> bool:
    try:
        return float(value) >= least
    except (TypeError, ValueError):
        return False
