"""Flags, and what flags cannot say; read back by transformers' own parser where it is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from paceline_tuner.export import as_flags
from paceline_tuner.study.compose import Configuration

EVERYTHING = Configuration(
    arguments={
        "learning_rate": 5e-4,
        "per_device_train_batch_size": 4,
        "dataloader_pin_memory": False,
        "lr_scheduler_type": "cosine",
        "lr_scheduler_kwargs": {"num_cycles": 0.25},
        "activation_checkpointing": None,
    },
    ddp={"bucket_cap_mb": 50, "find_unused_parameters": False, "gradient_as_bucket_view": True},
    env={"OMP_NUM_THREADS": "2"},
    placeholders={"micro": 2},
)


def test_values_become_words() -> None:
    words, notes = as_flags(EVERYTHING)
    assert words == (
        "--learning_rate", "0.0005",
        "--per_device_train_batch_size", "4",
        "--dataloader_pin_memory", "False",
        "--lr_scheduler_type", "cosine",
        "--lr_scheduler_kwargs", '{"num_cycles": 0.25}',
        "--ddp_bucket_cap_mb", "50",
        "--ddp_find_unused_parameters", "False",
    )  # fmt: skip
    assert notes == (
        "DDP gradient_as_bucket_view = True: there is no TrainingArguments field for it; "
        "only `paceline submit` can apply it",
        "write 2 where the study's command has {micro}",
        "leave --activation_checkpointing out of the command, since no value stands for its default",
    )


def test_the_default_needs_no_flag() -> None:
    assert as_flags(Configuration()) == ((), ())


def test_a_bucket_of_25_is_dropped_by_accelerate() -> None:
    words, [note] = as_flags(Configuration(ddp={"bucket_cap_mb": 25}))
    assert words == ()
    assert "bucket_cap_mb = 25: accelerate drops this value" in note
    assert "only `paceline submit`" in note


def test_unset_becomes_what_torch_itself_does() -> None:
    unset = dict.fromkeys(
        ("bucket_cap_mb", "broadcast_buffers", "find_unused_parameters", "gradient_as_bucket_view")
    )
    words, notes = as_flags(Configuration(ddp=unset))
    assert words == ("--ddp_broadcast_buffers", "True", "--ddp_find_unused_parameters", "False")
    assert notes == ("leave --ddp_bucket_cap_mb out of the command, since no value stands for its default",)


def test_lists_become_several_words() -> None:
    words, _ = as_flags(Configuration(arguments={"optim_target_modules": ["attn", "mlp"]}))
    assert words == ("--optim_target_modules", "attn", "mlp")


def test_transformers_reads_them_back(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    parser = transformers.HfArgumentParser(transformers.TrainingArguments)
    words, _ = as_flags(EVERYTHING)
    [arguments] = parser.parse_args_into_dataclasses([*words, "--output_dir", str(tmp_path), "--use_cpu", "True"])
    assert arguments.learning_rate == 5e-4
    assert arguments.per_device_train_batch_size == 4
    assert arguments.dataloader_pin_memory is False
    assert arguments.lr_scheduler_type == "cosine"
    assert arguments.lr_scheduler_kwargs == {"num_cycles": 0.25}
    assert arguments.ddp_bucket_cap_mb == 50
    assert arguments.ddp_find_unused_parameters is False
