"""TrainingArguments JSON."""

from __future__ import annotations

import json

from paceline_tuner.export import as_arguments_json
from paceline_tuner.study.compose import Configuration


def test_arguments_and_ddp_fields_in_one_object() -> None:
    made = Configuration(
        arguments={"learning_rate": 5e-4, "lr_scheduler_kwargs": {"min_lr": 0.1}},
        ddp={"bucket_cap_mb": None, "static_graph": True, "gradient_as_bucket_view": True},
        env={"OMP_NUM_THREADS": "2"},
        placeholders={"micro": 2},
    )
    assert json.loads(as_arguments_json(made)) == {
        "learning_rate": 5e-4,
        "lr_scheduler_kwargs": {"min_lr": 0.1},
        "ddp_bucket_cap_mb": None,
        "ddp_static_graph": True,
    }


def test_a_bucket_of_25_cannot_be_said() -> None:
    assert json.loads(as_arguments_json(Configuration(ddp={"bucket_cap_mb": 25}))) == {}
