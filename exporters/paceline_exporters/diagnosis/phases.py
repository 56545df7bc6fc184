"""What of a rank's step is its own work, and what is waiting for others.

Under DDP every rank's step takes as long as the slowest rank's: a slow rank is seen in its own work, and the
others wait for it, in the gradient all-reduce at the end of the backward pass or in the gather before the step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from .jobsteps import FieldValues, JobStep

# Phase -> fields that measure a rank's own work in it; the first known one counts. Device time before host time:
# on a GPU the host only launches. Backward never from backward_seconds, which contains the wait.
WORK: Mapping[str, Sequence[str]] = {
    "data_wait": ("data_wait_seconds",),
    "forward": ("gpu_forward_seconds", "forward_seconds"),
    "backward": ("gpu_backward_compute_seconds", "backward_compute_seconds", "ddp_compute_seconds"),
    "optimizer": ("gpu_optimizer_seconds", "optimizer_seconds"),
    "other": ("other_seconds",),
}
SCALES_WITH_TOKENS = ("forward", "backward")
BACKWARD = ("gpu_backward_seconds", "backward_seconds")


def own_work(values: FieldValues) -> dict[str, float]:
    """Seconds by phase of the rank's own work; a phase that is not measured is not in it."""
    found = ((phase, first(values, names)) for phase, names in WORK.items())
    return {phase: seconds for phase, seconds in found if seconds is not None}


def waiting(values: FieldValues) -> float | None:
    """Seconds in which the rank waited for others or for the network; None where backward is not split."""
    backward, work = first(values, BACKWARD), first(values, WORK["backward"])
    if backward is None or work is None:
        return values.get("ddp_exposed_seconds")
    return max(0.0, backward - work) + values.get("sync_wait_seconds", 0.0)


def first(values: FieldValues, names: Sequence[str]) -> float | None:
    """The first of these fields that is known."""
    return next((values[name] for name in names if name in values), None)


def step_seconds(step: JobStep) -> float | None:
    """Wall time of the step: the median over its ranks."""
    known = [values["step_seconds"] for values in step.ranks.values() if "step_seconds" in values]
    return median(known) if known else None


def tokens_of(values: FieldValues) -> float | None:
    """Tokens of the rank's step, padding included, since devices compute on padding too; else its samples."""
    return values.get("tokens", values.get("samples"))


def is_disturbed(step: JobStep) -> bool:
    """Whether some rank compiled in this step: its time says nothing about the next."""
    return any(values.get("compile_seconds", 0.0) > 0.0 for values in step.ranks.values())
