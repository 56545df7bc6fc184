"""The alerts. Each has a section in docs/alerts.md that says what it means and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

PAGE = "docs/alerts.md"
TARGET = "job, instance"
CLOSED = "paceline_tuner_study_runs_closed_total"


@dataclass(frozen=True)
class Alert:
    """One alert."""

    name: str
    severity: Literal["critical", "warning"]
    """critical: work is being lost now."""
    expression: str
    hold: str
    """How long it must be so; 0s for what happened and cannot unhappen."""
    summary: str
    description: str
    """What to do first."""

    @property
    def runbook(self) -> str:
        """Where the section is."""
        return f"{PAGE}#{self.name.lower()}"

    def rule(self) -> dict[str, Any]:
        """As Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": self.expression,
            "for": self.hold,
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook": self.runbook,
            },
        }


def _closed(outcomes: str, window: str) -> str:
    series = f'{CLOSED}{{outcome=~"{outcomes}"}}' if outcomes else CLOSED
    return f"sum by ({TARGET}, study) (increase({series}[{window}]))"


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
_FAILED = _closed("failed|rejected", "30m")
_ENDED_FAILED = (
    f"max by ({TARGET}, study) (time() - paceline_tuner_study_ended_timestamp_seconds < 3600)"
    f' and on ({TARGET}, study) paceline_tuner_study_info{{state="failed"}}'
)

ALERTS = (
    Alert(
        "PacelineAgentStale",
        "warning",
        f'up{{job="paceline-agent"}} == 0 or min by ({TARGET}) (paceline_agent_source_age_seconds) > 60',
        "2m",
        "The agent at {{ $labels.instance }} is away, or all it serves is old.",
        "Nothing is known of the ranks on that node. Jobs go on without it. See the agent's log and whether its "
        "process lives; a node that is away altogether shows in its other targets too.",
    ),
    Alert(
        "PacelineSourceFailing",
        "warning",
        "avg_over_time(paceline_agent_source_success[5m]) < 0.5",
        "1m",
        "Source {{ $labels.source }} of the agent at {{ $labels.instance }} fails.",
        "Its series are missing on that node, the others are not. paceline_agent_source_failures_total names the "
        "class of error, the agent's log the error itself.",
    ),
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
        "PacelineThroughputRegression",
        "warning",
        f"{_PACE} < 0.7 * quantile_over_time(0.5, {_PACE}[1h] offset 15m) and on (run_id) {_PACE} offset 30m",
        "10m",
        "Run {{ $labels.run_id }} is down to {{ $value | humanize }} samples/s, less than 70 % of its last hour.",
        "The same job got slower by itself, pauses not counted. See which phase grew on the Job dashboard, then "
        "whether one rank or all have it, then the node of the slowest.",
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
    Alert(
        "PacelineTunerDown",
        "critical",
        'up{job="paceline-tuner"} == 0',
        "2m",
        "The tuner at {{ $labels.instance }} does not answer.",
        "No study goes on; jobs that run are not stopped, and agents keep their reports on disk. See its log: it "
        "says in one line why it could not start.",
    ),
    Alert(
        "PacelineStudyFailing",
        "warning",
        f"({_FAILED} > 2.5 and {_FAILED} > 0.5 * {_closed('', '30m')}) or ({_ENDED_FAILED})",
        "0s",
        "Study {{ $labels.study }}: most of its runs fail, or it has failed.",
        "The causes stand on the Tuner dashboard, the reason in the study's log (GET /v1/studies/{{ "
        "$labels.study }}/events). Make the command work by itself first, then narrow the knobs that break it.",
    ),
    Alert(
        "PacelineRunLost",
        "warning",
        f"{_closed('lost', '15m')} > 0",
        "0s",
        "A run of study {{ $labels.study }} was lost.",
        "Neither windows nor heartbeats came within its lease, so its submitter or its node is gone. The study "
        "goes on; whatever still runs of that job holds GPUs for nothing.",
    ),
    Alert(
        "PacelineSeriesBudgetExceeded",
        "warning",
        f"sum by ({TARGET}, source) (increase(paceline_agent_source_series_dropped_total[10m])) > 0"
        f" or sum by ({TARGET}) (increase(paceline_rings_dropped_total[10m])) > 0",
        "0s",
        "The agent at {{ $labels.instance }} leaves series out.",
        "It holds 5,000 series a source and 256 ranks. What is shown is true, but not all is shown: find out "
        "what makes so many, and look at what is missing on another node's agent or in the job's own log.",
    ),
)


def document() -> dict[str, Any]:
    """As Prometheus reads it."""
    return {"groups": [{"name": "paceline-alerts", "rules": [alert.rule() for alert in ALERTS]}]}
