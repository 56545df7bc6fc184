"""Decides whether this process is a training process, and if it may become one, installs the import hooks."""

from __future__ import annotations

import os
import sys

SWITCH = "PACELINE_ATTACH"
"""Environment variable: 0 leaves every process alone."""

_HELPERS = ("multiprocessing.spawn", "multiprocessing.forkserver", "multiprocessing.resource_tracker")


def boot() -> None:
    """Install the hooks, at most once per process, and not in DataLoader workers and the like."""
    if os.environ.get(SWITCH) == "0" or is_helper(getattr(sys, "orig_argv", [])):
        return
    from . import imports

    imports.install(
        {
            "transformers.training_args": ("arguments", "patch"),
            "transformers.trainer": ("trainer", "patch"),
            "transformers.modeling_utils": ("harness", "patch_models"),
            "torch.nn.parallel.distributed": ("ddp", "patch"),
        }
    )


def is_helper(argv: list[str]) -> bool:
    """Whether this interpreter was started by multiprocessing (spawned workers, resource tracker)."""
    return "--multiprocessing-fork" in argv or any(
        helper in argument for argument in argv[:8] for helper in _HELPERS
    )
