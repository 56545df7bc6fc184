"""PromQL that rules and panels share: which ranks count, over which time, and what is claimed of a whole run.

Ranks whose training ended still have series for some minutes; they count no more. What is said of a whole run is
said only while every rank of it reports: a sum over whoever reported would look like a slower job.
"""

from __future__ import annotations

from dataclasses import dataclass

OWN_PHASES = "data_wait|forward|optimizer|other"
"""A rank's own doing. Sync wait and, with DDP, the backward pass contain waiting for the other ranks."""


@dataclass(frozen=True)
class Ranks:
    """Some ranks of some runs, over some time."""

    window: str
    """Of rates, as PromQL writes it."""
    run: str = ""
    """Label matcher of the run; empty: all runs."""
    rank: str = ""
    """Label matcher of the rank; empty: all ranks."""

    def series(self, metric: str, *matchers: str) -> str:
        """These ranks' series of a metric."""
        inside = ",".join(matcher for matcher in (self.run, self.rank, *matchers) if matcher)
        return f"{metric}{{{inside}}}" if inside else metric

    def of_run(self, metric: str, *matchers: str) -> str:
        """Series that a run has but once per node."""
        inside = ",".join(matcher for matcher in (self.run, *matchers) if matcher)
        return f"{metric}{{{inside}}}" if inside else metric

    def training(self, expression: str, ignoring: str = "") -> str:
        """The expression's series of ranks that train."""
        match = f" ignoring ({ignoring})" if ignoring else ""
        return f"({expression} and{match} ({self.series('paceline_rank_training')} == 1))"

    def rate(self, metric: str) -> str:
        """A counter's rate on each rank that trains."""
        return self.training(f"rate({self.series(metric)}[{self.window}])")

    def phases(self, *matchers: str) -> str:
        """Seconds per second by phase on each rank that trains."""
        series = self.series("paceline_step_phase_seconds_total", *matchers)
        return self.training(f"rate({series}[{self.window}])", "phase")

    def total(self, metric: str) -> str:
        """A counter's rate, summed over the run while all its ranks report."""
        rate = self.rate(metric)
        size = self.of_run("paceline_run_world_size")
        return (
            f"sum by (run_id) ({rate}) and on (run_id) (count by (run_id) ({rate}) == max by (run_id) ({size}))"
        )

    def pace(self) -> str:
        """Samples per second of stepping, pauses left out: what the tuner calls throughput."""
        seconds = f"avg by (run_id) ({self.rate('paceline_step_seconds_total')})"
        return f"(({self.total('paceline_step_samples_total')}) / {seconds}) > 0"

    def step_seconds(self) -> str:
        """Mean time of a step, by rank."""
        return f"{self.rate('paceline_step_seconds_total')} / {self.rate('paceline_steps_total')}"

    def phase_seconds(self) -> str:
        """Mean time of each phase of a step, averaged over ranks."""
        phases = self.phases('phase!="pause"')
        steps = self.rate("paceline_steps_total")
        return f"avg by (run_id, phase) ({phases} / ignoring (phase) group_left () {steps})"

    def phase_shares(self) -> str:
        """Each phase's share of the steps' time, averaged over ranks."""
        phases = self.phases('phase!="pause"')
        seconds = self.rate("paceline_step_seconds_total")
        return f"avg by (run_id, phase) ({phases} / ignoring (phase) group_left () {seconds})"

    def phase_share(self, phase: str) -> str:
        """One phase's share of the steps' time, by rank."""
        of_phase = self.phases(f'phase="{phase}"')
        return f"{of_phase} / ignoring (phase) {self.rate('paceline_step_seconds_total')}"

    def own_seconds(self) -> str:
        """A rank's own time per step: without what it spends waiting for the others."""
        own = self.phases(f'phase=~"{OWN_PHASES}"')
        return f"sum without (phase) ({own}) / {self.rate('paceline_steps_total')}"
