"""The catalogue agrees with itself, with the documents made of it, and with the libraries it speaks of."""

from __future__ import annotations

from pathlib import Path

import pytest

from paceline_tuner.study.catalogue import BY_NAME, DDP_KEYWORDS, ROWS, document, effect_of, target_of
from paceline_tuner.study.refused import OWNED, RENAMED, why_not_argument, why_not_env

DOCUMENT = Path(__file__).parents[3] / "docs" / "knobs.md"
FIELDS = [row.name for row in ROWS if target_of(row.name)[0] == "arguments"]


def test_the_document_is_up_to_date() -> None:
    assert DOCUMENT.read_text() == document(), "run `python -m paceline_tuner.study.catalogue > docs/knobs.md`"


def test_no_knob_is_listed_twice_or_refused() -> None:
    assert len(BY_NAME) == len(ROWS)
    for row in ROWS:
        target, key = target_of(row.name)
        assert target != "arguments" or why_not_argument(key) is None
        assert target != "env" or why_not_env(key) is None


def test_what_a_knob_needs_is_a_knob() -> None:
    assert all(row.needs is None or row.needs.knob in BY_NAME for row in ROWS)


def test_the_worst_is_assumed_of_what_is_not_listed() -> None:
    assert effect_of("some_field", False) == "convergence"
    assert effect_of("placeholder.x", False) == "convergence"
    assert effect_of("env.NCCL_SOMETHING", False) == "numerics"
    assert effect_of("per_device_train_batch_size", False) == "convergence"
    assert effect_of("per_device_train_batch_size", True) == "numerics"


def test_the_installed_libraries_know_the_names() -> None:
    training = pytest.importorskip("transformers.training_args", reason="transformers is not installed")
    parallel = pytest.importorskip("torch.nn.parallel", reason="torch is not installed")
    known = set(training.TrainingArguments.__dataclass_fields__)
    assert set(FIELDS) <= known
    assert {name for name in OWNED if "*" not in name} - known <= {"overwrite_output_dir"}
    gone = {name for name in RENAMED if not name.startswith(("ddp_", "gradient_checkpointing"))}
    assert not gone & known
    import inspect

    assert set(DDP_KEYWORDS) <= set(inspect.signature(parallel.DistributedDataParallel.__init__).parameters)
