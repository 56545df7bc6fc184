"""What holds for trials only: the user's checkpoints, trackers and hub stay untouched, the budget is fixed.

A user's normal run, with or without a proposal, has no harness and passes through here unchanged.
"""

from __future__ import annotations

import functools
import math
import os
import sys
from typing import Any

from . import proposal
from .notice import say
from .session import event, reject
from .stop import Rejected

OFF: dict[str, Any] = {
    "save_strategy": "no",
    "eval_strategy": "no",
    "evaluation_strategy": "no",  # its name before transformers 4.46
    "eval_on_start": False,
    "load_best_model_at_end": False,
    "push_to_hub": False,
    "report_to": "none",
    "logging_strategy": "no",  # its gather makes ranks wait for each other outside of what is measured
    "logging_first_step": False,
    "resume_from_checkpoint": None,
}

_SPEED = ("_runtime", "_per_second", "_time")

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
        names = {cls.__name__ for cls in type(callback).__mro__}
        if isinstance(callback, trackers) or "EarlyStoppingCallback" in names:
            trainer.remove_callback(callback)
    for name in ("save_model", "push_to_hub", "_save_checkpoint"):
        setattr(trainer, name, functools.partial(_left_out, name))


def from_the_beginning(args: Any, keywords: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Arguments of train() for a trial: it resumes from no checkpoint."""
    if not proposal.harness():
        return args, keywords
    kept = {name: value for name, value in keywords.items() if name != "resume_from_checkpoint"}
    return (None, *args[1:]) if args else args, kept


def patch_models(module: Any) -> None:
    """In a trial, PreTrainedModel writes and pushes nothing, wherever the script asks for it."""
    try:
        trial = bool(proposal.harness())
    except Rejected as rejected:
        raise reject(rejected) from None
    if trial:
        for name in ("save_pretrained", "push_to_hub"):
            setattr(module.PreTrainedModel, name, functools.partialmethod(_left_out_of_model, name))


def _left_out(name: str, *args: Any, **keywords: Any) -> None:
    say(f"{name}() is left out in a trial")


def _left_out_of_model(model: Any, name: str, *args: Any, **keywords: Any) -> None:
    _left_out(name)


def evaluate(trainer: Any) -> None:
    """After a trial's train(): evaluate where the objective needs it. Raises Rejected without an eval_dataset."""
    if not proposal.harness().get("evaluate"):
        return
    if trainer.eval_dataset is None:
        raise Rejected("not_effective", "the objective needs an evaluation, but the Trainer has no eval_dataset")
    trainer.evaluate()


def finish() -> None:
    """End a trial's process: what the script does after train() is not the trial's to do.

    At once, without the interpreter's teardown: gloo's can hang there for good (its destructor joins, with the
    GIL held, a thread that waits for the GIL), and nothing that a trial leaves behind needs it.
    """
    if not proposal.harness():
        return
    say("the trial is over; the rest of the script is left out")
    _flush(sys.stdout)
    _flush(sys.stderr)
    os._exit(0)


def _flush(stream: Any) -> None:
    try:
        stream.flush()
    except (OSError, ValueError, AttributeError):
        return  # a closed stream has nothing to flush


def evaluated(metrics: Any, step: float) -> None:
    """Record an evaluation's metrics; what an event has no room for is left out, loss last and speed first."""
    if isinstance(metrics, dict):
        numbers = {k: float(v) for k, v in metrics.items() if isinstance(v, (int, float)) and math.isfinite(v)}
        ordered = sorted(numbers, key=lambda name: (name.endswith(_SPEED), "loss" not in name))
        event("evaluation", step, metrics={name: numbers[name] for name in ordered})
