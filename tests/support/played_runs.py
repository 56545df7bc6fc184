"""Runs that are played: real rings, written by real processes, with the steps of a story."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from ring_histories import Story, history

LONG_STEP_SECONDS = 120.0
"""For stories whose verdict is looked at: played ranks take no further step, which is a standstill after five
times as long, and no test lasts that long."""


def play(trainers: Sequence[Any], story: Story, steps: Iterable[int] | None = None) -> None:
    """Each trainer in turn is a rank of the story; of its steps those numbered, or all."""
    wanted = None if steps is None else frozenset(steps)
    told = [step for step in history(story) if wanted is None or step.number in wanted]
    for rank, trainer in enumerate(trainers):
        now = {"monotonic": time.monotonic(), "wall": time.time()}
        trainer.steps(*({**step.ranks[rank], **now} for step in told))
