"""The default run's own values."""

from __future__ import annotations

from dataclasses import replace

from paceline_tuner.sampling.warm import default_params
from paceline_tuner.study.compose import Baseline
from paceline_tuner.study.spec import Knob, Objective, StudySpec

ARGUMENTS = {
    "learning_rate": 5e-5,
    "weight_decay": 0.0,
    "dataloader_num_workers": 0,
    "lr_scheduler_kwargs": {},
}


def test_known_values_inside_the_space(spec):
    assert default_params(spec, Baseline(ARGUMENTS, 2)) == ARGUMENTS | {"ddp.bucket_cap_mb": None}


def test_a_value_outside_or_unknown_gives_none(spec):
    assert default_params(spec, Baseline(ARGUMENTS | {"learning_rate": 0.1}, 2)) is None
    assert default_params(spec, Baseline(ARGUMENTS | {"dataloader_num_workers": 2}, 2)) is None
    assert default_params(spec, Baseline({}, 2)) is None


def test_placeholders_come_from_the_study(small):
    small = replace(small, defaults={"micro": 2})
    assert default_params(small, Baseline({"bf16": False}, 2)) == {"bf16": False, "micro": 2}
    assert default_params(small, Baseline({"bf16": 0}, 2)) is None


def test_ddp_keywords_of_the_default_run_count_as_it_constructed_them() -> None:
    knobs = (
        Knob("ddp.bucket_cap_mb", "ddp", "bucket_cap_mb", "choice", "numerics", choices=(None, 5)),
        Knob(
            "ddp.find_unused_parameters",
            "ddp",
            "find_unused_parameters",
            "choice",
            "speed",
            choices=(True, False),
        ),
    )
    spec = StudySpec("s", ("true",), knobs, Objective("throughput", "maximize"))
    ddp = {"bucket_cap_mb": None, "find_unused_parameters": True}
    assert default_params(spec, Baseline({}, 2, ddp)) == {f"ddp.{name}": value for name, value in ddp.items()}
    assert default_params(spec, Baseline({}, 2)) is None
