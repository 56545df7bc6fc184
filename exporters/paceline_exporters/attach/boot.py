"""Decides whether this process is a training process, and if it may become one, installs the import hooks."""

from __future__ import annotations

import os
import sys

SWITCH = "PACELINE_ATTACH"
"""Environment variable: 0 leaves every process alone."""

_HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.semaphore_tracker")


def boot() -> None:
    """Install the hooks, at most once per process.

    Also in spawned workers: they may train. A DataLoader's never call backward(), and so never make a ring.
    """
    if os.environ.get(SWITCH) == "0" or is_helper(getattr(sys, "orig_argv", [])):
        return
    from . import api, imports

    imports.install(
        {
            "transformers.training_args": ("arguments", "patch"),
            "transformers.trainer": ("trainer", "patch"),
            "transformers.modeling_utils": ("harness", "patch_models"),
            "torch": ("loop", "patch"),
            "torch.nn.modules.module": ("models", "patch"),
            "torch.nn.utils": ("clipping", "patch"),
            "torch.distributed": ("collectives", "patch"),
            "torch.nn.parallel.distributed": ("ddp", "patch"),
            "torch.utils.data.dataloader": ("batches", "patch"),
            "torch.distributed.checkpoint.state_dict_saver": ("checkpoints", "patch_distributed"),
            "torch.multiprocessing.spawn": ("crash", "patch_spawn"),
            "torch._dynamo": ("compiles", "patch"),
            "multiprocessing.process": ("crash", "patch_processes"),
            "safetensors.torch": ("checkpoints", "patch_safetensors"),
            "accelerate.data_loader": ("batches", "patch_accelerate"),
            "accelerate.accelerator": ("checkpoints", "patch_accelerate"),
        }
    )
    sys.modules.setdefault("paceline_step", api)


def is_helper(argv: list[str]) -> bool:
    """Whether this interpreter is multiprocessing's own, and runs nothing of the job's."""
    return any(helper in argument for argument in argv[:8] for helper in _HELPERS)
