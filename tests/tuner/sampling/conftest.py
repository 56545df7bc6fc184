"""A space of every kind of knob."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paceline_tuner.study.spec import Budget, Condition, Knob, Objective, StudySpec

KNOBS = (
    Knob("learning_rate", "arguments", "learning_rate", "float", "convergence", low=1e-5, high=1e-2, log=True),
    Knob("weight_decay", "arguments", "weight_decay", "float", "convergence", low=0.0, high=0.2, step=0.05),
    Knob("dataloader_num_workers", "arguments", "dataloader_num_workers", "int", "speed", low=0, high=4),
    Knob(
        "dataloader_prefetch_factor",
        "arguments",
        "dataloader_prefetch_factor",
        "int",
        "speed",
        low=1,
        high=8,
        when=Condition("dataloader_num_workers", (1, 2, 3, 4)),
    ),
    Knob("ddp.bucket_cap_mb", "ddp", "bucket_cap_mb", "choice", "speed", choices=(None, 5, 25, 100)),
    Knob(
        "lr_scheduler_kwargs",
        "arguments",
        "lr_scheduler_kwargs",
        "choice",
        "convergence",
        choices=({}, {"num_cycles": 2}),
    ),
)


@pytest.fixture
def spec():
    """A study with all of them."""
    objective = Objective("throughput", "maximize")
    return StudySpec("demo", ("train",), KNOBS, objective, budget=Budget(trials=30))


@pytest.fixture
def small(spec):
    """A study of six configurations."""
    return replace(
        spec,
        knobs=(
            Knob("bf16", "arguments", "bf16", "choice", "numerics", choices=(True, False)),
            Knob("micro", "placeholders", "micro", "choice", "speed", choices=(1, 2, 4)),
        ),
    )
