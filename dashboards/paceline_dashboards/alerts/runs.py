"""Runs: slow, standing still, or computing nothing of use."""

from __future__ import annotations

from .alert import Alert

TRAINING = "(paceline_rank_training == 1)"
_SILENCE = f"time() - max by (run_id) (paceline_step_timestamp_seconds and {TRAINING})"
_PATIENCE = (
    "(clamp_min(20 * max by (run_id) (paceline_step_seconds_total / paceline_steps_total), 600)"
    " or max by (run_id) (0 * paceline_step_timestamp_seconds + 600))"
)
_NEVER_BEGAN = (
    f"max by (run_id) ({TRAINING} and (paceline_rank_training offset 30m == 1))"
    " unless on (run_id) paceline_step_timestamp_seconds"
)
_PACE = "run:paceline_step_samples:pace5m"
_STRAGGLER_CAUSE = (
    '{{ range query (printf "max by (phase, cause) (paceline_rank_straggler_info{run_id=%q,rank=%q})" '
    "$labels.run_id $labels.rank) }} It is slower in {{ .Labels.phase }}, cause: {{ .Labels.cause }}.{{ end }}"
)
"""Not labels of the alert: a cause that is found later would begin its time anew. Begins with a blank."""

RUNS = (
    Alert(
        "PacelineStepStalled",
        "critical",
        f"({_SILENCE}) > {_PATIENCE} or ({_NEVER_BEGAN})",
        "0s",
        "Run {{ $labels.run_id }} trains but makes no step.",
        "All ranks live, none has ended a step for ten minutes and twenty usual steps, or in half an hour there "
        "was no first one. Look for the rank whose last phase differs from the others', then end the job: a hung "
        "collective does not come back.",
    ),
    Alert(
        "PacelineRunHung",
        "critical",
        "max by (run_id) (paceline_run_hung) == 1",
        "0s",
        "Run {{ $labels.run_id }} stands still.",
        "No rank has gone on for longer than ten seconds and five times what its phase ever takes. The stacks of "
        "all ranks were kept when that was found: `paceline explain {{ $labels.run_id }}` names them and the odd "
        "rank.",
    ),
    Alert(
        "PacelineStraggler",
        "warning",
        "max by (run_id, rank) (paceline_rank_straggler_ratio) > 0.05",
        "5m",
        "Rank {{ $labels.rank }} of run {{ $labels.run_id }} costs all others {{ $value | humanizePercentage }} "
        "of every step.",
        f"All ranks wait for it.{_STRAGGLER_CAUSE} `paceline explain {{{{ $labels.run_id }}}}` has the numbers "
        "behind it, and what to do; the Job dashboard leads to its node.",
    ),
    Alert(
        "PacelineThroughputRegression",
        "warning",
        f"{_PACE} < 0.7 * quantile_over_time(0.5, {_PACE}[1h] offset 15m) and on (run_id) {_PACE} offset 30m",
        "10m",
        "Run {{ $labels.run_id }} is down to {{ $value | humanize }} samples/s, less than 70 % of its last hour.",
        "The same job got slower by itself, pauses not counted. See which phase grew on the Job dashboard, then "
        "whether one rank or all have it, then the node of the slowest.",
    ),
    Alert(
        "PacelineRunSlower",
        "warning",
        'sum by (run_id) (increase(paceline_run_findings_total{kind="regression"}[15m])) > 0'
        f" and on (run_id) {_PACE} < 0.95 * {_PACE} offset 15m",
        "5m",
        "Run {{ $labels.run_id }} became slower at one step, and stays so.",
        "The job's own steps changed, and not by their number of tokens. `paceline explain {{ $labels.run_id }}` "
        "gives the step, and what happened on the node at the same time.",
    ),
    Alert(
        "PacelineLossNaN",
        "critical",
        'max by (run_id) (increase(paceline_step_events_total{kind="nan"}[10m])) > 0'
        " or max by (run_id) (paceline_step_loss_finite == bool 0) == 1",
        "0s",
        "The loss of run {{ $labels.run_id }} is not a number.",
        "Nothing it computes from here on can be used. Stop it, go back to the last checkpoint before that step, "
        "and see gradient norm and learning rate before it.",
    ),
    Alert(
        "PacelineDataBound",
        "warning",
        "run:paceline_step_data_wait:share5m > 0.3",
        "10m",
        "A rank of run {{ $labels.run_id }} waits for data {{ $value | humanizePercentage }} of its time.",
        "The input pipeline does not keep up. Raise dataloader_num_workers or the prefetch factor, look at the "
        "node's CPU and its storage, or let `paceline tune` find both.",
    ),
)
