"""The samplers that a study can name."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import NamedTuple

from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, QMCSampler, RandomSampler, TPESampler

Make = Callable[[int, int, int], BaseSampler]
"""From the study's seed, the number of trials known at the start, and the start-up trials."""


class Kind(NamedTuple):
    """One sampler."""

    make: Make
    needs: tuple[str, ...] = ()
    """Modules it imports only when it is used."""
    capped: bool = False
    """It slows down with its history, and is given only the best and the latest of it."""


KINDS = {
    "tpe": Kind(lambda seed, known, first: TPESampler(seed=seed + known, n_startup_trials=first), capped=True),
    "gp": Kind(
        lambda seed, known, first: GPSampler(
            seed=seed + known, n_startup_trials=first, warn_independent_sampling=False
        ),
        ("torch", "scipy"),
        capped=True,
    ),
    "random": Kind(lambda seed, known, _: RandomSampler(seed=seed + known)),
    "qmc": Kind(
        lambda seed, _, __: QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False), ("scipy",)
    ),
    "cmaes": Kind(
        lambda seed, known, first: CmaEsSampler(
            seed=seed + known, n_startup_trials=first, warn_independent_sampling=False
        ),
        ("cmaes",),
    ),
}
FALLBACK = "tpe"


def choose(name: str) -> tuple[str, str]:
    """The sampler to use for `name`, and a note where that is another one."""
    missing = [module for module in KINDS[name].needs if importlib.util.find_spec(module) is None]
    if not missing:
        return name, ""
    return FALLBACK, (
        f"the sampler {name} needs {' and '.join(missing)}: {FALLBACK} is used instead; "
        f"run `pip install {' '.join(missing)}` beside the tuner and start it again to have {name}"
    )


def startup_trials(budget: int) -> int:
    """Trials sampled before the model is asked: a third of the budget, at least 3, at most 10."""
    return max(3, min(10, budget // 3))
