"""Each rule, alone, with the numbers in its reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paceline_tuner.service.decisions import Situation, Stop, decide
from paceline_tuner.study.spec import Budget, Objective, StudySpec

SPEC = StudySpec(
    name="demo",
    command=("train",),
    knobs=(),
    objective=Objective("throughput", "maximize", warmup_steps=2, measure_steps=30),
    budget=Budget(run_seconds=600, hang_seconds=60),
)
FINE = Situation(
    spec=SPEC,
    protected=False,
    age=100.0,
    idle=1.0,
    last_step=20,
    nan_step=None,
    ended="",
    aligned_steps=18,
    throughput=90.0,
    best=100.0,
)


def test_nothing_speaks_against_it():
    assert isinstance(decide(FINE), str)
    assert isinstance(decide(replace(FINE, last_step=None, idle=None, throughput=None)), str)


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"nan_step": 7}, "nan", ["step 7"]),
        ({"ended": "the study is over: cancelled on request"}, "cancelled", ["cancelled on request"]),
        ({"age": 601.0}, "time", ["601", "600"]),
        ({"idle": 61.0}, "hang", ["61", "step 20", "60"]),
        ({"throughput": 59.0}, "hopeless", ["59%", "100", "18 measured"]),
    ],
)
def test_stop(change, code, words):
    found = decide(replace(FINE, **change))
    assert isinstance(found, Stop)
    assert found.code == code
    assert all(word in found.reason for word in words)


@pytest.mark.parametrize(
    "change",
    [
        {"protected": True},
        {"aligned_steps": 9},
        {"best": None},
        {"throughput": 60.0},
    ],
)
def test_slow_is_hopeless_only_on_evidence_and_never_for_default_and_pairs(change):
    assert isinstance(decide(replace(FINE, **{"throughput": 59.0, **change})), str)
