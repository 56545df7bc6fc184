"""Names that no study may set, and what to write instead."""

from __future__ import annotations

from fnmatch import fnmatchcase

from paceline_exporters.attach.environment import ALLOWED_PREFIXES, allowed

RENAMED = {
    "adafactor": "optim (value adafactor)",
    "ddp_broadcast_buffers": "ddp.broadcast_buffers",
    "ddp_bucket_cap_mb": "ddp.bucket_cap_mb (its value `unset` is torch's default, which 25 is not)",
    "ddp_find_unused_parameters": "ddp.find_unused_parameters",
    "ddp_static_graph": "ddp.static_graph",
    "evaluation_strategy": "eval_strategy",
    "gradient_checkpointing": "activation_checkpointing",
    "gradient_checkpointing_kwargs": "activation_checkpointing_kwargs",
    "group_by_length": "train_sampling_strategy (value group_by_length)",
    "include_tokens_per_second": "include_num_input_tokens_seen",
    "no_cuda": "use_cpu",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "warmup_ratio": "warmup_steps (a value below 1 is the ratio)",
}
"""TrainingArguments fields that transformers 5 renamed, or that have one better name here."""

OWNED = (
    "do_eval", "do_predict", "do_train", "enable_jit_checkpoint", "eval_delay", "eval_on_start", "eval_steps",
    "eval_strategy", "greater_is_better", "hub_*", "ignore_data_skip", "load_best_model_at_end", "local_rank",
    "max_steps", "metric_for_best_model", "num_train_epochs", "output_dir", "overwrite_output_dir", "project",
    "push_to_hub*", "report_to", "restore_callback_states_from_checkpoint", "resume_from_checkpoint", "run_name",
    "save_*", "seed", "trackio_*",
)  # fmt: skip
"""TrainingArguments fields that the harness sets so that a trial leaves the job's own files alone."""

AUTO_BATCH = (
    "it changes the batch behind the study's back when memory runs out: "
    "list the sizes as choices of per_device_train_batch_size"
)
REFUSED_ENV = {
    "NCCL_LL_THRESHOLD": "NCCL no longer reads it as it once did: leave it out",
    "NCCL_MAX_NCHANNELS": "deprecated since NCCL 2.17: use env.NCCL_MAX_CTAS",
    "NCCL_MIN_NCHANNELS": "deprecated since NCCL 2.17: use env.NCCL_MIN_CTAS",
    "NCCL_SHM_MEMCPY_MODE": "removed from NCCL: leave it out",
    "NCCL_SHM_USE_CUDA_MEMCPY": "removed from NCCL: leave it out",
    "NCCL_SINGLE_RING_THRESHOLD": "NCCL no longer reads it as it once did: leave it out",
    "NCCL_TREE_THRESHOLD": "NCCL no longer reads it as it once did: use env.NCCL_ALGO",
    "TORCH_NCCL_ENABLE_TIMING": "it slows NCCL and can hang its watchdog: leave it out",
}
DANGEROUS = ("LD_*", "PYTHON*", "PATH")


def why_not_argument(name: str) -> str | None:
    """Why the TrainingArguments field cannot be a knob, or None."""
    if name == "auto_find_batch_size":
        return AUTO_BATCH
    if name in RENAMED:
        return f"this name is not used: write {RENAMED[name]}"
    if any(fnmatchcase(name, pattern) for pattern in OWNED):
        return (
            "every trial sets it itself, to leave the job's checkpoints, trackers and length alone: leave it out"
        )
    return None


def why_not_env(name: str) -> str | None:
    """Why a study cannot set the environment variable, or None."""
    if name in REFUSED_ENV:
        return REFUSED_ENV[name]
    if allowed(name):
        return None
    if any(fnmatchcase(name, pattern) for pattern in DANGEROUS) or name.startswith(ALLOWED_PREFIXES):
        return "a study may not set it, since it decides which code is loaded or which files are written"
    return (
        "a study may set only the variables in docs/knobs.md: "
        "set this one in the shell that starts the tuner, whose environment the runs inherit"
    )
