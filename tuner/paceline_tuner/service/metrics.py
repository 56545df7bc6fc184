"""The service's own metrics, in Prometheus's text format 0.0.4."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

from sqlalchemy import func, select

from .states import OPEN_STATES
from .tables import runs, trials
from .work import Work

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0)
"""Seconds."""
ANSWERS = ("proposal", "open", "wait", "done", "error")
TRIAL_STATES = ("open", "complete", "failed", "pruned")

Counts = dict[str, dict[str, int]]


class Metrics:
    """Counters of this process; what lies in the database is counted there."""

    def __init__(self) -> None:
        self._answers = Counter[str]()
        self._buckets = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0

    def asked(self, answer: str, seconds: float) -> None:
        """One ask was answered after `seconds`."""
        self._answers[answer] += 1
        self._buckets[bisect_left(BUCKETS, seconds)] += 1
        self._seconds += seconds

    def render(self, counts: Counts) -> str:
        """The page."""
        lines = [
            *_head("asks_total", "counter", "Asks by what they were answered."),
            *(f'paceline_tuner_asks_total{{answer="{name}"}} {self._answers[name]}' for name in ANSWERS),
            *_head("trials", "gauge", "Trials of all studies by state."),
            *(
                f'paceline_tuner_trials{{state="{name}"}} {counts["trials"].get(name, 0)}'
                for name in TRIAL_STATES
            ),
            *_head("open_runs", "gauge", "Runs that are not closed, by state."),
            *(
                f'paceline_tuner_open_runs{{state="{name}"}} {counts["runs"].get(name, 0)}'
                for name in OPEN_STATES
            ),
            *_head(
                "ask_seconds", "histogram", "Time to answer an ask, waiting for a fresh configuration included."
            ),
            *self._histogram(),
        ]
        return "\n".join(lines) + "\n"

    def _histogram(self) -> list[str]:
        lines, total = [], 0
        for edge, count in zip((*map(str, BUCKETS), "+Inf"), self._buckets, strict=True):
            total += count
            lines.append(f'paceline_tuner_ask_seconds_bucket{{le="{edge}"}} {total}')
        return [
            *lines,
            f"paceline_tuner_ask_seconds_sum {self._seconds:.6f}",
            f"paceline_tuner_ask_seconds_count {total}",
        ]


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP paceline_tuner_{name} {text}", f"# TYPE paceline_tuner_{name} {kind}"]


def count(work: Work) -> Counts:
    """What the database holds."""
    by_trial = select(trials.c.state, func.count()).group_by(trials.c.state)
    by_run = select(runs.c.state, func.count()).where(runs.c.state.in_(OPEN_STATES)).group_by(runs.c.state)
    return {
        "trials": {row[0]: row[1] for row in work.connection.execute(by_trial)},
        "runs": {row[0]: row[1] for row in work.connection.execute(by_run)},
    }
