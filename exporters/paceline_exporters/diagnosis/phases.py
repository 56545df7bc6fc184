"""What of a rank's step is its own work, and what is waiting for others.

Under DDP every rank's step takes as long as the slowest rank's: a slow rank is seen in its own work, and the
others wait for it, in the gradient all-reduce at the end of the backward pass or in the gather before the step.
"""

from __future__ import annotations

from collections.abc import Mapping

from .jobsteps import JobStep

# Phase -> fields that measure a rank's own work in it; the first known one counts. Device time before host time:
# on a GPU the host only launches. Backward never from backward_seconds, which contains the wait.
WORK: Mapping[str, tuple[str, ...]] = {
    "data_wait": ("data_wait_seconds",),
    "forward": ("gpu_forward_seconds", "forward_seconds"),
    "backward": ("gpu_backward_compute_seconds", "backward_compute_seconds", "ddp_compute_seconds"),
    "optimizer": ("gpu_optimizer_seconds", "optimizer_seconds"),
    "other": ("other_seconds",),
}
SCALES_WITH_TOKENS = ("forward", "backward")
BACKWARD = ("gpu_backward_seconds", "backward_seconds")
TOKENS = ("tokens", "samples")
"""Padding included, since devices compute on padding too."""


def first(step: JobStep, names: tuple[str, ...]) -> dict[int, float]:
    """By rank the first of these fields that any rank knows: ranks are compared in the same field. Not to be
    changed."""
    found: dict[int, float] | None = step.views.get(names)
    if found is None:
        known = ({rank: v[name] for rank, v in step.ranks.items() if name in v} for name in names)
        found = step.views[names] = next(filter(None, known), {})
    return found


def waiting(step: JobStep) -> dict[int, float]:
    """Seconds by rank in which it waited for others or for the network; empty where backward is not split."""
    work, backward = first(step, WORK["backward"]), first(step, BACKWARD)
    return {
        rank: max(0.0, backward[rank] - seconds) + step.ranks[rank].get("sync_wait_seconds", 0.0)
        for rank, seconds in work.items()
        if rank in backward
    }


def step_seconds(step: JobStep) -> float | None:
    """Wall time of the step: the median over its ranks."""
    if step_seconds not in step.views:
        known = sorted(values["step_seconds"] for values in step.ranks.values() if "step_seconds" in values)
        middle = (known[(len(known) - 1) // 2] + known[len(known) // 2]) / 2 if known else None
        step.views[step_seconds] = middle
    seconds: float | None = step.views[step_seconds]
    return seconds


def is_disturbed(step: JobStep) -> bool:
    """Whether some rank compiled in this step: its time says nothing about the next."""
    return any("compile_seconds" in values and values["compile_seconds"] > 0.0 for values in step.ranks.values())
