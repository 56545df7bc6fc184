"""The steps of every rank on this node, from the rings that the ranks write.

What to ask:

    # where a step's time goes; `paceline_step_part_seconds_total` says what of a phase was clipping, compiling,
    # evaluation or checkpointing
    rate(paceline_step_phase_seconds_total[5m]) / ignoring (phase) group_left rate(paceline_steps_total[5m])
    # model FLOPs utilisation over any time, pauses included; paceline_rank_mfu_ratio is that of the last 50 steps
    rate(paceline_step_flops_total[1h]) / paceline_rank_peak_flops
    # share of padding: in sampled steps, where the batch was on the host
    rate(paceline_step_counted_tokens_total{kind="padding"}[1h])
      / ignoring (kind) sum without (kind) (rate(paceline_step_counted_tokens_total[1h]))
    # gradient noise scale of a run on several nodes
    sum by (run_id) (paceline_run_gradient_noise * paceline_run_gradient_noise_ranks)
      / sum by (run_id) (paceline_run_gradient_signal * paceline_run_gradient_noise_ranks)

Padding counts as work in FLOPs and MFU: the device multiplies it. MFU says how well the device is used, the share
of padding how well the batches are filled. FLOPs per token are 6 per parameter that trains, 4 per frozen one
through which gradients flow and 2 per one before all that trains, embeddings included; attention's own are left
out.
"""

from __future__ import annotations

from ..contract import World
from .source import SKIP_REASONS, StepsSource

__all__ = ["SKIP_REASONS", "StepsSource", "create"]


def create(world: World) -> StepsSource:
    """The source of this package."""
    return StepsSource(world)
