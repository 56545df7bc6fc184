"""What holds for trials only: the user's checkpoints, trackers and hub stay untouched, the budget is fixed.

A user's normal run, with or without a proposal, has no harness and passes through here unchanged.
"""

from __future__ import annotations

import functools
import math
import sys
from typing import Any

from . import proposal
from .notice import say
from .session import event
from .stop import Rejected, TrialOver

OFF: dict[str, Any] = {
    "save_strategy": "no",
    "eval_strategy": "no",
    "evaluation_strategy": "no",  # its name before transformers 4.46
    "eval_on_start": False,
    "load_best_model_at_end": False,
    "push_to_hub": False,
    "report_to": "none",
    "resume_from_checkpoint": None,
}

TRACKERS_OFF = {
    "WANDB_MODE": "disabled",
    "COMET_MODE": "disabled",
    "DISABLE_MLFLOW_INTEGRATION": "TRUE",
    "DISABLE_KUBEFLOW_INTEGRATION": "TRUE",
    "NEPTUNE_MODE": "debug",
    "SWANLAB_MODE": "disabled",
}
"""Environment for scripts that talk to a tracker themselves; set by `paceline run`."""


def argument_overrides(names: set[str]) -> dict[str, Any]:
    """TrainingArguments fields the harness decides, those of `names` (the installed version's) only."""
    harness = proposal.harness()
    if not harness:
        return {}
    fixed: dict[str, Any] = {key: harness[key] for key in ("output_dir", "max_steps", "seed") if key in harness}
    return {name: value for name, value in {**OFF, **fixed}.items() if name in names}


def prepare(trainer: Any) -> None:
    """Before train(): no tracker callback, no early stopping (it insists on evaluation), no saving."""
    if not proposal.harness():
        return
    integrations = sys.modules.get("transformers.integrations.integration_utils")
    trackers = tuple(getattr(integrations, "INTEGRATION_TO_CALLBACK", {}).values())
    for callback in list(trainer.callback_handler.callbacks):
        if isinstance(callback, trackers) or type(callback).__name__ == "EarlyStoppingCallback":
            trainer.remove_callback(callback)
    for name in ("save_model", "push_to_hub", "_save_checkpoint"):
        setattr(trainer, name, functools.partial(_left_out, name))


def patch_models(module: Any) -> None:
    """In a trial, PreTrainedModel writes and pushes nothing, wherever the script asks for it."""
    if proposal.harness():
        for name in ("save_pretrained", "push_to_hub"):
            setattr(module.PreTrainedModel, name, functools.partialmethod(_left_out_of_model, name))


def _left_out(name: str, *args: Any, **keywords: Any) -> None:
    say(f"{name}() is left out in a trial")


def _left_out_of_model(model: Any, name: str, *args: Any, **keywords: Any) -> None:
    _left_out(name)


def finish(trainer: Any) -> None:
    """After train(): evaluate if the objective needs it, then end the script (raises TrialOver)."""
    harness = proposal.harness()
    if not harness:
        return
    if harness.get("evaluate"):
        if trainer.eval_dataset is None:
            raise Rejected(
                "not_effective", "the objective needs an evaluation, but the Trainer has no eval_dataset"
            )
        trainer.evaluate()
    say("the trial is over; the rest of the script is left out")
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_initialized():
        distributed.destroy_process_group()
    raise TrialOver


def evaluated(metrics: Any, step: float) -> None:
    """Record an evaluation's metrics."""
    if isinstance(metrics, dict):
        numbers = {k: float(v) for k, v in metrics.items() if isinstance(v, (int, float)) and math.isfinite(v)}
        event("evaluation", step, metrics=numbers)
