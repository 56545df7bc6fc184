"""The tuner: its service, its studies, their runs."""

from __future__ import annotations

from .alert import TARGET, Alert

CLOSED = "paceline_tuner_study_runs_closed_total"


def _closed(outcomes: str, window: str) -> str:
    series = f'{CLOSED}{{outcome=~"{outcomes}"}}' if outcomes else CLOSED
    return f"sum by ({TARGET}, study) (increase({series}[{window}]))"


_FAILED = _closed("failed|rejected", "30m")
_ENDED_FAILED = (
    f"max by ({TARGET}, study) (time() - paceline_tuner_study_ended_timestamp_seconds < 3600)"
    f' and on ({TARGET}, study) paceline_tuner_study_info{{state="failed"}}'
)

TUNER = (
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
)
