"""Configurations hold the global batch, keep to their conditions, and leave the default empty."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from paceline_tuner.study.catalogue import effect_of, target_of
from paceline_tuner.study.codec import spec_from_json, spec_to_json
from paceline_tuner.study.compose import Baseline, Configuration, compose, expects, restrict
from paceline_tuner.study.errors import StudyError
from paceline_tuner.study.spec import Condition, Knob, Objective, StudySpec

BATCH, ACCUMULATION = "per_device_train_batch_size", "gradient_accumulation_steps"


def knob(name: str, *choices: Any, when: Condition | None = None) -> Knob:
    """A choice."""
    target, key = target_of(name)
    return Knob(name, target, key, "choice", effect_of(name, True), choices=choices, when=when)


def batch_range(low: float, high: float, step: float | None = None) -> Knob:
    """The batch as a range."""
    return Knob(BATCH, "arguments", BATCH, "int", "numerics", low=low, high=high, step=step)


def study(*knobs: Knob, hold: bool = True, **fields: Any) -> StudySpec:
    """A study with these knobs."""
    return StudySpec(
        "demo", ("python", "t.py"), knobs, Objective("throughput", "maximize"), hold_global_batch=hold, **fields
    )


def baseline(batch: int, accumulation: int, ranks: int) -> Baseline:
    """A default run's report."""
    return Baseline({BATCH: batch, ACCUMULATION: accumulation, "learning_rate": 5e-5}, ranks)


@given(
    st.integers(1, 64),
    st.integers(1, 64),
    st.integers(1, 64),
    st.lists(st.integers(1, 96), min_size=1, unique=True),
)
def test_every_choice_left_holds_the_global_batch(
    batch: int, accumulation: int, ranks: int, choices: list[int]
) -> None:
    default = baseline(batch, accumulation, ranks)
    spec = study(knob(BATCH, *choices))
    fitting = [choice for choice in choices if batch * accumulation % choice == 0]
    if not fitting:
        with pytest.raises(StudyError, match="can hold the global batch"):
            restrict(spec, default)
        return
    [left] = restrict(spec, default).knobs
    assert list(left.choices) == fitting
    for choice in left.choices:
        arguments = compose(spec, {BATCH: choice}, default).arguments
        assert arguments[BATCH] * arguments[ACCUMULATION] * ranks == default.global_batch


@given(st.integers(1, 64), st.integers(1, 8), st.integers(1, 64))
def test_a_batch_that_cannot_hold_is_refused(batch: int, ranks: int, other: int) -> None:
    assume(batch % other)
    with pytest.raises(StudyError, match=f"choose a divisor of {batch}"):
        compose(study(knob(BATCH, other)), {BATCH: other}, baseline(batch, 1, ranks))


def test_a_range_of_batches_becomes_those_that_hold() -> None:
    [left] = restrict(study(batch_range(2, 100)), baseline(8, 3, 2)).knobs
    assert (left.kind, left.choices, left.low) == ("choice", (2, 3, 4, 6, 8, 12, 24), None)
    [stepped] = restrict(study(batch_range(4, 64, step=4)), baseline(8, 3, 2)).knobs
    assert stepped.choices == (4, 8, 12, 24)
    with pytest.raises(StudyError, match="choose from 1, 2, 3, 4, 6, 8, 12, 24"):
        restrict(study(batch_range(25, 90)), baseline(8, 3, 2))


def test_the_batch_is_held_only_once_it_is_known() -> None:
    spec = study(knob(BATCH, 4))
    with pytest.raises(StudyError, match="let the default run's trial finish first"):
        compose(spec, {BATCH: 4}, None)
    with pytest.raises(StudyError, match=f"reported {BATCH} = None"):
        compose(spec, {BATCH: 4}, Baseline({}, 2))
    assert compose(replace(spec, hold_global_batch=False), {BATCH: 4}, None).arguments == {BATCH: 4}


def test_the_default_is_empty_but_for_placeholders() -> None:
    spec = study(knob(BATCH, 4), knob("placeholder.micro", 1, 2), defaults={"micro": 2, "lr": 1e-4})
    assert compose(spec, {}, None) == Configuration(placeholders={"micro": 2, "lr": 1e-4})
    assert compose(spec, {"placeholder.micro": 1}, None).placeholders == {"micro": 1, "lr": 1e-4}


def test_each_value_goes_where_it_acts_and_says_where_it_comes_from() -> None:
    rate = Knob("learning_rate", "arguments", "learning_rate", "float", "convergence", low=0.1, high=1)
    arenas = Knob("env.MALLOC_ARENA_MAX", "env", "MALLOC_ARENA_MAX", "int", "speed", low=1, high=4)
    spec = study(knob(BATCH, 4), rate, arenas, knob("ddp.bucket_cap_mb", None, 5), sampler="gp")
    params = {BATCH: 4, "learning_rate": 1, "env.MALLOC_ARENA_MAX": 2.0, "ddp.bucket_cap_mb": None}
    made = compose(spec, params, baseline(8, 1, 2))
    assert made.arguments == {BATCH: 4, ACCUMULATION: 2, "learning_rate": 1.0}
    assert made.env == {"MALLOC_ARENA_MAX": "2"}
    assert made.ddp == {"bucket_cap_mb": None}
    assert made.values == {
        BATCH: {"effect": "numerics", "origin": "gp"},
        "learning_rate": {"effect": "convergence", "origin": "gp"},
        "env.MALLOC_ARENA_MAX": {"effect": "speed", "origin": "gp"},
        "ddp.bucket_cap_mb": {"effect": "numerics", "origin": "gp"},
        ACCUMULATION: {"effect": "numerics", "origin": "hold: global_batch"},
    }


def test_a_knob_whose_condition_fails_is_not_set() -> None:
    workers = knob("dataloader_num_workers", 0, 2)
    prefetch = knob("dataloader_prefetch_factor", 2, when=Condition("dataloader_num_workers", (2,)))
    params = {"dataloader_num_workers": 0, "dataloader_prefetch_factor": 2}
    assert compose(study(workers, prefetch), params, None).arguments == {"dataloader_num_workers": 0}


def test_a_knob_of_another_study_is_refused() -> None:
    with pytest.raises(StudyError, match="demo has no knob bf16"):
        compose(study(knob(BATCH, 4)), {"bf16": True}, None)


def test_expects_names_what_the_libraries_must_know() -> None:
    spec = study(knob(BATCH, 4), knob("ddp.static_graph", True), knob("env.OMP_NUM_THREADS", "1"))
    assert expects(spec) == {"arguments": [BATCH, ACCUMULATION], "ddp": ["static_graph"]}
    assert expects(replace(spec, hold_global_batch=False))["arguments"] == [BATCH]


STATIC = knob("ddp.static_graph", False, True)
ON = knob("ddp.static_graph", True)
ACCUMULATIONS = knob(ACCUMULATION, 1, 2)


@pytest.mark.parametrize(
    ("spec", "accumulation", "expected"),
    [
        (study(STATIC), 1, STATIC),
        (study(STATIC), 2, knob("ddp.static_graph", False)),
        (study(ON, knob("bf16", True)), 2, None),
        (study(knob("ddp.static_graph", None, False)), 2, knob("ddp.static_graph", None, False)),
        (study(STATIC, knob(BATCH, 4, 8)), 1, replace(STATIC, when=Condition(BATCH, (8,)))),
        (study(STATIC, knob(BATCH, 4, 8)), 2, knob("ddp.static_graph", False)),
        (study(STATIC, batch_range(1, 16)), 2, replace(STATIC, when=Condition(BATCH, (16,)))),
        (study(STATIC, ACCUMULATIONS, hold=False), 2, replace(STATIC, when=Condition(ACCUMULATION, (1,)))),
        (study(STATIC, knob(ACCUMULATION, 2, 4), hold=False), 1, knob("ddp.static_graph", False)),
        (study(replace(STATIC, when=Condition("bf16", (True,))), knob("bf16", True), knob(BATCH, 8)), 1,
         knob("ddp.static_graph", False, when=Condition("bf16", (True,)))),
    ],
)  # fmt: skip
def test_static_graph_only_without_accumulation(
    spec: StudySpec, accumulation: int, expected: Knob | None
) -> None:
    left = restrict(spec, baseline(8, accumulation, 2)).knobs
    names = [made.name for made in left]
    assert next((made for made in left if made.name == "ddp.static_graph"), None) == expected
    if expected is not None and expected.when is not None:
        assert names.index(expected.when.knob) < names.index("ddp.static_graph")


@given(st.integers(1, 16), st.integers(1, 4), st.sampled_from([BATCH, "ddp.static_graph"]))
def test_what_is_left_is_a_study_again(batch: int, accumulation: int, parent: str) -> None:
    values = (2, 16) if parent == BATCH else (True,)
    dependent = knob("bf16", False, True, when=Condition(parent, values))
    spec = study(knob(BATCH, 1, 2, 4, 16), STATIC, dependent)
    left = restrict(spec, baseline(batch, accumulation, 2))
    assert spec_from_json(spec_to_json(left)) == left


def test_a_study_with_nothing_left_is_refused() -> None:
    with pytest.raises(StudyError, match="no knob of the study can be set"):
        restrict(study(ON), baseline(8, 2, 2))
