"""The runs' diagnoses as metrics, sampled like any source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from paceline_exporters.diagnosis.findings import FindingKind, VerdictKind
from paceline_exporters.metrics import Family, Samples

from .blame import Blame, blamed
from .runs import Run, Runs

KINDS: Sequence[str] = get_args(FindingKind)
VERDICTS: Sequence[str] = get_args(VerdictKind)
VERDICT_EVERY = 5
"""Samples between verdicts; findings are counted at once."""

RUN = ("run_id",)
VERDICT = Family("paceline_run_verdict", "1 for the verdict that holds, else 0.", "gauge", "", (*RUN, "verdict"))
FINDINGS = Family(
    "paceline_run_findings_total",
    "Stragglers, slower communication, regressions and standstills found by this node.",
    "counter",
    "",
    (*RUN, "kind"),
)
HUNG = Family(
    "paceline_run_hung", "1 while the run stands still, also in its first step, else 0.", "gauge", "", RUN
)
SHARE = Family(
    "paceline_run_time_ratio",
    "Where the time of the latest steps goes, as a share of the step; communication: waiting of the rank here "
    "that waits least, and of a run on several nodes the least of theirs is what nothing hides.",
    "gauge",
    "ratio",
    (*RUN, "part"),
)
STRAGGLER = Family(
    "paceline_rank_straggler_ratio",
    "What the rank costs all others, as a share of the step; 0 where it is no straggler.",
    "gauge",
    "ratio",
    (*RUN, "rank"),
)
STRAGGLER_INFO = Family(
    "paceline_rank_straggler_info",
    "Of a straggler the phase that costs most, and its cause; absent where the rank is none.",
    "info",
    "",
    (*RUN, "rank", "phase", "cause"),
)
DURATION = Family(
    "paceline_run_step_duration_seconds", "Steps of the run by their length.", "histogram", "seconds", RUN
)


class DiagnosisSource:
    """Looks at the runs once a second."""

    name = "diagnosis"
    period_seconds = 1.0
    deadline_seconds = 2.0
    families = (VERDICT, FINDINGS, HUNG, SHARE, STRAGGLER, STRAGGLER_INFO, DURATION)

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._turn = 0
        self._verdicts: dict[str, str] = {}
        self._blamed: dict[str, dict[int, Blame]] = {}

    def sample(self) -> Samples:
        """Raises OSError where the ring directory cannot be read."""
        samples = Samples()
        runs = self._runs.look()
        if self._turn % VERDICT_EVERY == 0 or self._verdicts.keys() != {run.run_id for run in runs}:
            verdicts = {run.run_id: run.diagnosis.verdict() for run in runs}
            self._verdicts = {name: told.kind for name, told in verdicts.items()}
            self._blamed = {
                name: blamed(told.findings, self._blamed.get(name, {})) for name, told in verdicts.items()
            }
        self._turn += 1
        for run in runs:
            self._add(samples, run)
        return samples

    def close(self) -> None:
        """Close the rings."""
        self._runs.close()

    def _add(self, samples: Samples, run: Run) -> None:
        holds = self._verdicts[run.run_id]
        for kind in VERDICTS:
            samples.add(VERDICT, int(kind == holds), run.run_id, kind)
        for kind in KINDS:
            samples.add(FINDINGS, run.counts[kind], run.run_id, kind)
        samples.add(HUNG, int(run.diagnosis.hung), run.run_id)
        samples.add(DURATION, run.durations, run.run_id)
        found = run.diagnosis.shares
        for part in ("data", "compute", "communication", "other"):
            samples.add(SHARE, None if found is None else getattr(found, part), run.run_id, part)
        costs = run.diagnosis.stragglers
        for rank in run.ranks:
            samples.add(STRAGGLER, costs.get(rank, 0.0), run.run_id, str(rank))
        for rank, blame in self._blamed[run.run_id].items():
            samples.add(STRAGGLER_INFO, 1, run.run_id, str(rank), *blame)
