"""Whether a run goes on: one rule a reason, each with the numbers it stands on. Pure functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from paceline_tuner.study.spec import StudySpec

HOPELESS = 0.6
"""Share of the best throughput below which a trial is given up."""

Code = Literal["ended", "cancelled", "nan", "time", "hang", "hopeless"]


@dataclass(frozen=True)
class Situation:
    """What is known of a run when its submitter asks."""

    spec: StudySpec
    protected: bool
    """The default and the pairs of the proof: never given up for being slow."""
    age: float
    """Seconds since the first sign of life."""
    idle: float | None
    """Seconds since the last new step; None before the first step and after the last."""
    last_step: int | None
    nan_step: int | None
    ended: str
    """Why the run is wanted no more (closed, study cancelled or ended), or empty."""
    aligned_steps: int
    throughput: float | None
    """Over the aligned steps; None when there are none, or for other objectives."""
    best: float | None
    """The best throughput of a finished trial."""


@dataclass(frozen=True)
class Stop:
    """All ranks are to be stopped."""

    code: Code
    reason: str


def _ended(now: Situation) -> Stop | None:
    return Stop("cancelled", now.ended) if now.ended else None


def _nan(now: Situation) -> Stop | None:
    if now.nan_step is None:
        return None
    return Stop("nan", f"the loss was not finite at step {now.nan_step}: nothing after it can be used")


def _time(now: Situation) -> Stop | None:
    limit = now.spec.budget.run_seconds
    if now.age <= limit:
        return None
    return Stop("time", f"the run takes {now.age:.0f} s; the study allows {limit:.0f} s (budget.run_seconds)")


def _hang(now: Situation) -> Stop | None:
    limit = now.spec.budget.hang_seconds
    if now.idle is None or now.idle <= limit:
        return None
    return Stop(
        "hang",
        f"no step for {now.idle:.0f} s after step {now.last_step}; allowed are {limit:.0f} s (hang_seconds)",
    )


def _hopeless(now: Situation) -> Stop | None:
    enough = max(5.0, now.spec.objective.measure_steps / 3)
    if now.protected or now.throughput is None or now.best is None or now.aligned_steps < enough:
        return None
    if now.throughput >= HOPELESS * now.best:
        return None
    share = now.throughput / now.best
    return Stop(
        "hopeless",
        f"{now.throughput:.4g} {now.spec.objective.unit}/s over {now.aligned_steps} measured steps is "
        f"{share:.0%} of the best so far ({now.best:.4g}); below {HOPELESS:.0%} a trial is given up",
    )


RULES: tuple[Callable[[Situation], Stop | None], ...] = (_ended, _nan, _time, _hang, _hopeless)


def decide(now: Situation) -> Stop | str:
    """The first rule that says stop, or in a sentence why the run goes on."""
    for rule in RULES:
        if stop := rule(now):
            return stop
    step = (
        "before its first step"
        if now.last_step is None
        else f"at step {now.last_step} of {now.spec.objective.steps}"
    )
    return f"{step}, {now.age:.0f} s after its start; nothing speaks against it"
