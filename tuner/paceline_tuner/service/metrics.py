"""The service's own metrics, in Prometheus's text format 0.0.4."""

from __future__ import annotations

from collections import Counter

from paceline_exporters.metrics import CONTENT_TYPES, Distribution, Family, Renderer, Samples, exposition

from .census import Census, StudyCount
from .states import OPEN_STATES

CONTENT_TYPE = CONTENT_TYPES["text"]
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0)
"""Seconds."""
ANSWERS = ("proposal", "open", "wait", "done", "error")
TRIAL_STATES = ("open", "complete", "failed", "pruned")
BUDGET = 10_000
"""Series; 100 studies have about 3,000."""


def _family(name: str, text: str, kind: str = "gauge", unit: str = "", *labels: str) -> Family:
    return Family(f"paceline_tuner_{name}", text, kind, unit, labels)  # type: ignore[arg-type] # literals below


ASKS = _family("asks_total", "Asks by what they were answered.", "counter", "", "answer")
ASK_SECONDS = _family(
    "ask_seconds", "Time to answer an ask, waiting for a fresh configuration included.", "histogram", "seconds"
)
TRIALS = _family("trials", "Trials of all studies by state.", "gauge", "", "state")
OPEN_RUNS = _family("open_runs", "Runs that are not closed, by state.", "gauge", "", "state")
HIDDEN = _family("studies_hidden", "Studies without series of their own: only the latest 100 have them.")
INFO = _family(
    "study_info",
    "A study: search, proof, done or failed; what its values are; the proof's verdict once it is known.",
    "info",
    "",
    *("study", "state", "objective", "direction", "verdict"),
)
ENDED = _family("study_ended_timestamp_seconds", "When the study ended, Unix time.", "gauge", "seconds", "study")
STUDY_TRIALS = _family("study_trials", "Trials of the study by state.", "gauge", "", "study", "state")
OF_TRIALS = _family("study_trial_budget", "Trials that the study may make.", "gauge", "", "study")
STUDY_RUNS = _family("study_open_runs", "Open runs of the study by state.", "gauge", "", "study", "state")
CLOSED = _family(
    "study_runs_closed_total", "Closings of the study's runs.", "counter", "", "study", "outcome", "cause"
)
BEST = _family("study_best_value", "Best value of a complete trial.", "gauge", "", "study")
DEFAULT = _family("study_default_value", "Value of trial 0, the job's own default.", "gauge", "", "study")
PROOF = {
    "ratio": _family(
        "study_proof_ratio", "Proved gain over the default, above 1 is better.", "gauge", "ratio", "study"
    ),
    "low": _family("study_proof_low_ratio", "Lower end of the gain's 95 % interval.", "gauge", "ratio", "study"),
    "high": _family(
        "study_proof_high_ratio", "Upper end of the gain's 95 % interval.", "gauge", "ratio", "study"
    ),
}
FAMILIES = (
    *(ASKS, ASK_SECONDS, TRIALS, OPEN_RUNS, HIDDEN, INFO, ENDED, STUDY_TRIALS, OF_TRIALS, STUDY_RUNS, CLOSED),
    *(BEST, DEFAULT, *PROOF.values()),
)


class Metrics:
    """Counters of this process; what lies in the database is counted there."""

    def __init__(self) -> None:
        self._answers = Counter[str]()
        self._seconds = Distribution(BUCKETS)
        self._renderer = Renderer(FAMILIES, BUDGET)

    def asked(self, answer: str, seconds: float) -> None:
        """One ask was answered after `seconds`."""
        self._answers[answer] += 1
        self._seconds.observe(seconds)

    def render(self, census: Census) -> bytes:
        """The page."""
        samples = Samples()
        for name in ANSWERS:
            samples.add(ASKS, self._answers[name], name)
        samples.add(ASK_SECONDS, self._seconds)
        for name in TRIAL_STATES:
            samples.add(TRIALS, census.trials.get(name, 0), name)
        for name in OPEN_STATES:
            samples.add(OPEN_RUNS, census.open_runs.get(name, 0), name)
        samples.add(HIDDEN, census.hidden)
        for study in census.studies:
            _add_study(samples, study)
        return exposition([self._renderer.render(samples)], "text")


def _add_study(samples: Samples, study: StudyCount) -> None:
    name = study.name
    samples.add(INFO, 1, name, study.state, study.objective, study.direction, study.verdict)
    samples.add(ENDED, study.ended_at, name)
    for state in TRIAL_STATES:
        samples.add(STUDY_TRIALS, study.trials.get(state, 0), name, state)
    samples.add(OF_TRIALS, study.of_trials, name)
    for state in OPEN_STATES:
        samples.add(STUDY_RUNS, study.open_runs.get(state, 0), name, state)
    for closing, count in study.closed.items():
        samples.add(CLOSED, count, name, *closing)
    samples.add(BEST, study.best, name)
    samples.add(DEFAULT, study.default, name)
    for key, family in PROOF.items():
        samples.add(family, study.proof.get(key), name)
