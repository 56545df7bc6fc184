"""Steps of a fast job taken together: what a diagnosis costs does not grow with the steps per second."""

from __future__ import annotations

from .jobsteps import FieldValues, JobStep
from .phases import step_seconds

BLOCK_SECONDS = 0.04
"""Steps that last as long stand alone; shorter ones are averaged until they do. Longer blocks cost less, but a
run's normal and slope over tokens are learnt from blocks: with 0.4 s a fault in a run's first 10 s goes by."""
MOST_STEPS = 64
"""Of one block, for jobs that do not say how long their steps take."""


class Blocks:
    """Averages consecutive steps of one attempt."""

    def __init__(self) -> None:
        self._steps: list[JobStep] = []
        self._seconds = 0.0

    def add(self, step: JobStep) -> JobStep | None:
        """The block that this step completes: its number is the step's, its values are means over its steps."""
        self._steps.append(step)
        self._seconds += step_seconds(step) or 0.0
        if self._seconds < BLOCK_SECONDS and len(self._steps) < MOST_STEPS:
            return None
        steps, self._steps, self._seconds = self._steps, [], 0.0
        return step if len(steps) == 1 else _mean(steps)


def _mean(steps: list[JobStep]) -> JobStep:
    # Ranks that are in all of them: a mean over different steps would compare what is not alike.
    ranks = set.intersection(*(set(step.ranks) for step in steps))
    last = steps[-1]
    means = {rank: _mean_of([step.ranks[rank] for step in steps]) for rank in sorted(ranks)}
    return JobStep(last.number, means, all(step.complete for step in steps))


def _mean_of(rows: list[FieldValues]) -> dict[str, float]:
    """Each field's mean over the steps that know it."""
    sums: dict[str, float] = dict(rows[0])
    counts = dict.fromkeys(sums, 1)
    for row in rows[1:]:
        for name, value in row.items():
            sums[name] = sums.get(name, 0.0) + value
            counts[name] = counts.get(name, 0) + 1
    return {name: total / counts[name] for name, total in sums.items()}
