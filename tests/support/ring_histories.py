"""Step records of runs as they might have been: ranks that differ a little, hiccups, and a straggler on request.

A synchronous step under DDP: every rank loads, computes forward and backward; the gradient all-reduce ends when
the slowest rank has brought its gradients and the network has carried them; then every rank runs its optimizer.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import repeat

from paceline_exporters.diagnosis.jobsteps import JobStep

# Share of the step that a phase takes, and how its time is distributed over tokens: fixed, linear, quadratic.
PHASES = {"data_wait": 0.05, "forward": 0.28, "backward": 0.50, "optimizer": 0.07, "other": 0.02}
COMPUTE = ("forward", "backward", "optimizer")
COMMUNICATION = 0.08
TOKENS = 4096
TOKEN_COST = (0.15, 0.75, 0.10)
DDP_FIRST, DDP_EVERY = 10, 100
EPISODE_SECONDS = (1.0, 5.0)
EPISODE_FACTOR = (1.2, 2.0)


@dataclass(frozen=True)
class Story:
    """What happens to a run."""

    seed: int
    ranks: int = 4
    steps: int = 300
    step_seconds: float = 0.2
    noise: float = 0.015
    """Standard deviation of a rank's own work, as a share of the step."""
    hiccups: float = 0.004
    """Probability that a phase of a rank's step takes a hiccup of up to 30 % of the step."""
    variable_lengths: bool = False
    """Tokens per rank and step vary by a factor of 3."""
    longer_rank: int | None = None
    """Rank whose batches have half as many tokens again."""
    fault: str = ""
    """A phase, `compute` for all of a slow device, or `communication`; empty: healthy."""
    slow_rank: int = 0
    onset: int = 100
    """First step of the fault."""
    by: float = 0.1
    """What the fault costs, as a share of the healthy step, in the mean."""
    every: int = 1
    """One step in so many has all of the fault."""
    meets_in_forward: bool = False
    """A collective at the beginning of forward: who waits in it seems to work."""
    communication: float = COMMUNICATION
    """Share of the step that the network takes."""
    jitter: float = 0.05
    """Standard deviation of the logarithm of what the network takes."""
    episodes: float = 0.0
    """Share of the time in which other programs slow the network: EPISODE_FACTOR times, for EPISODE_SECONDS."""
    backward_split: bool = True
    """Backward's own work is known in every step; else only DDP's own times, at torch's rate."""


def history(story: Story) -> Iterator[JobStep]:
    """The run's steps, in order."""
    rng = random.Random(story.seed)
    skill = [{phase: 1.0 + rng.gauss(0.0, 0.01) for phase in PHASES} for _ in range(story.ranks)]
    others = _others(story, rng)
    healthy: list[float] = []
    for number in range(1, story.steps + 1):
        extra = 0.0
        if story.fault and number >= story.onset and number % story.every == 0:
            extra = story.every * story.by * (sum(healthy) / len(healthy)) * max(0.0, rng.gauss(1.0, 0.1))
        tokens = [TOKENS * (rng.uniform(0.5, 1.5) if story.variable_lengths else 1.0) for _ in skill]
        if story.longer_rank is not None:
            tokens[story.longer_rank] *= 1.5
        work = [_work(story, rng, one, count / TOKENS) for one, count in zip(skill, tokens, strict=True)]
        network = story.step_seconds * story.communication * math.exp(rng.gauss(0.0, story.jitter)) * next(others)
        if story.fault == "communication":
            network += extra
        elif story.fault:
            slow = work[story.slow_rank]
            phases = COMPUTE if story.fault == "compute" else (story.fault,)
            for phase in phases:
                slow[phase] += extra * PHASES[phase] / sum(PHASES[one] for one in phases)
        if story.meets_in_forward:
            _meet(work)
        step = _step(story, number, tokens, work, network)
        if number < story.onset or not story.fault:
            healthy.append(step.ranks[0]["step_seconds"])
        yield step


def shared(story: Story) -> Story:
    """The same where ranks share cores with each other and with other programs, as measured with two gloo ranks
    and busy processes on two cores."""
    return replace(story, communication=0.35, jitter=0.4, episodes=0.3)


def _others(story: Story, rng: random.Random) -> Iterator[float]:
    """What other programs make of the network's time, step by step."""
    while True:
        busy, factor = 0, 1.0
        if story.episodes:
            seconds = rng.uniform(*EPISODE_SECONDS)
            idle = seconds * (1.0 - story.episodes) / story.episodes * rng.uniform(0.5, 1.5)
            yield from repeat(1.0, round(idle / story.step_seconds))
            busy, factor = round(seconds / story.step_seconds), rng.uniform(*EPISODE_FACTOR)
        yield from repeat(factor, max(1, busy))


def _work(story: Story, rng: random.Random, skill: dict[str, float], length: float) -> dict[str, float]:
    fixed, linear, quadratic = TOKEN_COST
    work = {}
    for phase, share in PHASES.items():
        seconds = story.step_seconds * share * skill[phase]
        if phase in ("forward", "backward"):
            seconds *= fixed + linear * length + quadratic * length * length
        # The phases' noise adds up to the step's.
        seconds += story.step_seconds * rng.gauss(0.0, story.noise) * math.sqrt(share)
        if rng.random() < story.hiccups:
            seconds += story.step_seconds * 0.3 * rng.random()
        work[phase] = max(0.0, seconds)
    return work


def _meet(work: list[dict[str, float]]) -> None:
    """All wait in forward for the last to come there since the gradients' all-reduce; the end of a step is taken
    to be before its own forward."""
    there = [one["optimizer"] + one["other"] + one["data_wait"] for one in work]
    for one, ready in zip(work, there, strict=True):
        one["forward"] += max(there) - ready


def _step(
    story: Story, number: int, tokens: list[float], work: list[dict[str, float]], network: float
) -> JobStep:
    before = [one["data_wait"] + one["forward"] for one in work]
    reduced = max(ready + one["backward"] for ready, one in zip(before, work, strict=True)) + network
    ranks = {}
    for rank, one in enumerate(work):
        backward = reduced - before[rank]
        values = {
            "step": float(number),
            "tokens": tokens[rank],
            "step_seconds": reduced + one["optimizer"] + one["other"],
            "data_wait_seconds": one["data_wait"],
            "forward_seconds": one["forward"],
            "backward_seconds": backward,
            "optimizer_seconds": one["optimizer"],
            "other_seconds": one["other"],
        }
        if story.backward_split:
            values["backward_compute_seconds"] = one["backward"]
        if number <= DDP_FIRST or number % DDP_EVERY == 0:
            values["ddp_compute_seconds"] = one["backward"]
            values["ddp_exposed_seconds"] = backward - one["backward"]
        ranks[rank] = values
    return JobStep(number, ranks, complete=True)
