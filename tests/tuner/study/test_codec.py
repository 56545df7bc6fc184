"""A study survives JSON unchanged, and JSON that is no study is refused by field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline_exporters.messages import canonical
from paceline_tuner.study.catalogue import effect_of, target_of
from paceline_tuner.study.codec import spec_from_json, spec_to_json
from paceline_tuner.study.errors import StudyError
from paceline_tuner.study.spec import Budget, Condition, Knob, Objective, Proof, StudySpec

SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(10**15), 10**15),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text("abc é\n"),
)
VALUES = st.recursive(SCALARS, lambda inner: st.dictionaries(st.text("abc"), inner, max_size=2), max_leaves=3)
KEYS = st.from_regex(r"some_[a-z_]{1,10}", fullmatch=True)
SECONDS = st.floats(0.1, 1e6)
OBJECTIVES = st.one_of(
    st.builds(
        Objective,
        st.just("throughput"),
        st.just("maximize"),
        st.sampled_from(("samples", "tokens")),
        warmup_steps=st.integers(0, 50),
        measure_steps=st.integers(1, 50),
    ),
    st.builds(
        Objective,
        st.just("final"),
        st.sampled_from(("maximize", "minimize")),
        metric=st.sampled_from(("eval_loss", "eval/f1")),
        max_steps=st.integers(1, 10**6),
    ),
)


def knob(name: str, kind: str, **values: Any) -> Knob:
    """A knob as the study file makes it."""
    target, key = target_of(name)
    return Knob(name, target, key, kind, effect_of(name, False), **values)  # type: ignore[arg-type]


@st.composite
def knobs(draw: st.DrawFn) -> tuple[Knob, ...]:
    """Knobs that are not in the catalogue, and one that depends on the first."""
    made: list[Knob] = []
    for name in draw(st.lists(KEYS, min_size=1, max_size=4, unique=True)):
        low = draw(st.floats(1e-6, 1e6))
        choices = draw(st.lists(VALUES, min_size=1, max_size=4, unique_by=canonical))
        made.append(
            draw(
                st.sampled_from(
                    [
                        knob(name, "choice", choices=tuple(choices)),
                        knob(name, "float", low=low, high=low * 2, log=True),
                        knob(name, "int", low=1.0, high=9.0, step=2.0),
                    ]
                )
            )
        )
    scalars = tuple(v for v in made[0].choices if not isinstance(v, dict))
    if scalars:
        made.append(knob("ddp.bucket_cap_mb", "choice", choices=(None, 5), when=Condition(made[0].name, scalars)))
    return tuple(made)


@st.composite
def studies(draw: st.DrawFn) -> StudySpec:
    """A study that passes every check."""
    defaults = draw(st.dictionaries(st.sampled_from(("lr", "micro")), SCALARS, max_size=2))
    return StudySpec(
        name=draw(st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)),
        command=("python", "train.py", *(f"--{name}={{{name}}}" for name in defaults)),
        knobs=draw(knobs()),
        objective=draw(OBJECTIVES),
        budget=Budget(draw(st.integers(1, 500)), draw(st.none() | SECONDS), 1, draw(SECONDS), draw(SECONDS)),
        proof=draw(st.sampled_from((Proof(), Proof(6, 6, 0.01), Proof(max_pairs=0)))),
        hold_global_batch=draw(st.booleans()),
        sampler=draw(st.sampled_from(("tpe", "gp", "random", "qmc", "cmaes"))),
        seed=draw(st.integers(0, 2**32 - 1)),
        env=draw(st.none() | st.dictionaries(st.sampled_from(("NCCL_DEBUG", "GLOO_X")), st.text("abc"))),
        defaults=defaults or None,
    )


@given(studies())
def test_a_study_survives_json(study: StudySpec) -> None:
    text = json.dumps(spec_to_json(study), allow_nan=False)
    again = spec_from_json(json.loads(text))
    assert again == study
    assert canonical(spec_to_json(again)) == canonical(spec_to_json(study))


def good() -> dict[str, Any]:
    """A small study as JSON."""
    choices = knob("weight_decay", "choice", choices=(0, 0.1))
    return json.loads(  # type: ignore[no-any-return]
        json.dumps(
            spec_to_json(StudySpec("a", ("python", "t.py"), (choices,), Objective("throughput", "maximize")))
        )
    )


def test_unknown_fields_are_skipped_and_defaults_filled() -> None:
    data = good() | {"later": 1}
    del data["budget"], data["seed"], data["knobs"][0]["when"]
    assert spec_from_json(data) == spec_from_json(good())


BAD = [
    ("name", None, "name: expected text"),
    ("name", "A b", "study: expected at most 63 small letters"),
    ("name", "a\ud800", "Unicode"),
    ("command", "python", "command: expected a list"),
    ("command", [1], "command.0: expected text"),
    ("knobs", [], "knobs: expected at least one knob"),
    ("knobs", [3], "knobs.0: expected an object"),
    ("knobs", {"a": 1}, "knobs: expected a list"),
    ("objective", {"kind": "throughput"}, "objective.direction: is missing"),
    (
        "objective",
        {"kind": "speed", "direction": "maximize"},
        "objective.kind: expected one of throughput, final",
    ),
    ("objective", {"kind": "throughput", "direction": "minimize"}, "objective.direction: expected maximize"),
    ("budget", {"trials": True}, "budget.trials: expected a whole number"),
    ("budget", {"trials": 10**19}, "budget.trials: expected a number of at most 18 digits"),
    ("budget", {"wall_seconds": float("inf")}, "budget.wall_seconds: expected a number"),
    ("budget", {"wall_seconds": -1}, "budget.wall: expected a duration above 0"),
    ("budget", {"parallel": 2}, "budget.parallel: expected 1"),
    ("sampler", ["tpe"], "sampler: expected one of tpe"),
    ("hold_global_batch", 1, "hold_global_batch: expected true or false"),
    ("env", {"LD_PRELOAD": "x.so"}, "env.LD_PRELOAD: a study may not set it"),
    ("env", {"NCCL_DEBUG": 1}, "env.NCCL_DEBUG: expected text"),
    ("defaults", {"lr": [1]}, "defaults.lr: expected text, a number"),
    ("defaults", {"lr": 1}, "defaults.lr: the command has no placeholder"),
]


@pytest.mark.parametrize(("key", "value", "message"), BAD)
def test_what_is_no_study_is_refused_by_field(key: str, value: object, message: str) -> None:
    with pytest.raises(StudyError) as error:
        spec_from_json(good() | {key: value})
    assert message in str(error.value)


BAD_KNOBS: list[tuple[dict[str, Any], str]] = [
    ({"key": "learning_rate"}, "knobs.weight_decay: expected target and key"),
    ({"target": "env"}, "knobs.weight_decay: expected target and key"),
    ({"kind": "float"}, "expected either choices or a range"),
    ({"low": 1.0}, "expected either choices or a range"),
    ({"low": float("nan")}, "knobs.0.low: expected a number"),
    ({"choices": [float("nan")]}, "expected Unicode text and finite numbers"),
    ({"choices": [-1]}, "knobs.weight_decay.choices.0: expected a number of at least 0, got -1"),
    ({"kind": "int", "choices": [], "low": 0.5, "high": 2.0}, "expected whole numbers for low, high and step"),
    ({"when": {"knob": "bf16", "values": [True]}}, "knobs.weight_decay.when: looks at 'bf16'"),
    ({"when": {"knob": "bf16", "values": [[1]]}}, "knobs.0.when.values.0: expected text, a number"),
    ({"effect": "none"}, "knobs.0.effect: expected one of speed, numerics, convergence"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_KNOBS)
def test_what_is_no_knob_is_refused_by_field(changes: dict[str, Any], message: str) -> None:
    data = good()
    data["knobs"][0] |= changes
    with pytest.raises(StudyError) as error:
        spec_from_json(data)
    assert message in str(error.value)


def test_values_nested_too_deep_are_refused() -> None:
    data, value = good(), []
    for _ in range(100):
        value = [value]
    data["knobs"][0]["choices"] = [value]
    with pytest.raises(StudyError, match="nested at most 16 deep"):
        spec_from_json(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(good())), JSON)
def test_any_json_gives_a_study_or_a_study_error(key: str, value: object) -> None:
    try:
        study = spec_from_json(good() | {key: value})
    except StudyError:
        return
    assert spec_from_json(spec_to_json(study)) == study


@given(st.sampled_from(sorted(good()["knobs"][0])), JSON)
def test_any_json_gives_a_knob_or_a_study_error(key: str, value: object) -> None:
    data = good()
    data["knobs"][0][key] = value
    try:
        study = spec_from_json(data)
    except StudyError:
        return
    assert spec_from_json(spec_to_json(study)) == study
