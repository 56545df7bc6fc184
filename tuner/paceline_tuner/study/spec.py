"""A study, as data: checked once where it is read (`file.py`), then passed around unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Target = Literal["arguments", "ddp", "env", "placeholders"]
Effect = Literal["speed", "numerics", "convergence"]
Scalar = str | int | float | bool | None

GLOBAL_BATCH_FIELDS = ("per_device_train_batch_size", "gradient_accumulation_steps")


@dataclass(frozen=True)
class Condition:
    """A knob is asked for only when another knob has one of these values."""

    knob: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True)
class Knob:
    """One thing the study may set, and the values it may take.

    `choices` is set for a choice; `low`, `high`, `step`, `log` for a range (`kind` int or float).
    In a choice of target "ddp", None is torch's own *unset*.
    """

    name: str
    """Unique in the study; `ddp.bucket_cap_mb`, `learning_rate`, `env.NCCL_ALGO`, `placeholder.micro`."""
    target: Target
    key: str
    """TrainingArguments field, DDP keyword, environment variable or placeholder name."""
    kind: Literal["choice", "int", "float"]
    effect: Effect
    choices: tuple[Any, ...] = ()
    """JSON values; a choice of structured arguments (lr_scheduler_kwargs) may hold mappings."""
    low: float | None = None
    high: float | None = None
    step: float | None = None
    log: bool = False
    when: Condition | None = None


@dataclass(frozen=True)
class Objective:
    """What a trial is judged by."""

    kind: Literal["throughput", "final"]
    direction: Literal["maximize", "minimize"]
    unit: Literal["samples", "tokens"] = "samples"
    """Of throughput: per second, summed over all ranks."""
    metric: str = ""
    """Of final: a key of the last evaluation's metrics, such as eval_loss."""
    warmup_steps: int = 10
    """Steps left out at the start of a throughput window."""
    measure_steps: int = 30
    """Steps after warm-up that make a throughput window; warm-up + measure is a run's max_steps."""
    max_steps: int = 0
    """Of final: the fixed budget of optimizer steps."""

    @property
    def steps(self) -> int:
        """Optimizer steps of one trial run."""
        return self.max_steps if self.kind == "final" else self.warmup_steps + self.measure_steps


@dataclass(frozen=True)
class Budget:
    """When the search ends: whichever comes first. The default's own trial counts as one."""

    trials: int = 20
    wall_seconds: float | None = None
    parallel: int = 1
    """Runs at a time."""
    run_seconds: float = 3600.0
    """A run that takes longer is stopped."""
    hang_seconds: float = 120.0
    """A run that showed steps and then none for this long is stopped as hung."""


@dataclass(frozen=True)
class Proof:
    """Alternating pairs of the default and the best candidate on the same machine."""

    min_pairs: int = 6
    """Fewer than 6 pairs can give no two-sided 95 % interval by randomisation (2 / 2**5 > 0.05)."""
    max_pairs: int = 12
    """0: no proof is run."""
    width: float = 0.05
    """Stop when the interval's half-width, relative to the ratio, is at most this."""


@dataclass(frozen=True)
class StudySpec:
    """A whole study."""

    name: str
    """^[a-z0-9]([-a-z0-9]*[a-z0-9])?$, at most 63 characters."""
    command: tuple[str, ...]
    """argv; `{name}` stands for a placeholder knob."""
    knobs: tuple[Knob, ...]
    objective: Objective
    budget: Budget = Budget()
    proof: Proof = Proof()
    hold_global_batch: bool = False
    """Keep per-device batch x accumulation x ranks as in the default run."""
    sampler: Literal["tpe", "gp", "random", "qmc", "cmaes"] = "tpe"
    seed: int = 0
    env: Mapping[str, str] | None = None
    """Environment of every run, default included (not tuned)."""
    defaults: Mapping[str, Scalar] | None = None
    """Placeholder -> value of the default run; each placeholder needs one."""
