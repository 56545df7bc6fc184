"""From sampled values to a configuration that a run can be started with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .conditions import is_active, ordered, reachable, takes
from .errors import StudyError
from .spec import Condition, Knob, StudySpec

BATCH, ACCUMULATION = "per_device_train_batch_size", "gradient_accumulation_steps"
STATIC_GRAPH = "ddp.static_graph"


@dataclass(frozen=True)
class Baseline:
    """What the default run ran with, as read back from it."""

    arguments: Mapping[str, Any]
    """Effective TrainingArguments."""
    world_size: int
    """Ranks of the run."""
    ddp: Mapping[str, Any] = field(default_factory=dict)
    """DistributedDataParallel keywords as constructed; empty where the job built none."""

    @property
    def global_batch(self) -> int:
        """Sequences per optimizer step over all ranks; StudyError if the default run did not report them."""
        return self.count(BATCH) * self.count(ACCUMULATION) * self.world_size

    def count(self, name: str) -> int:
        """The field `name`, which must be a whole number from 1 on."""
        value = self.arguments.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise StudyError(
                f"the default run reported {name} = {value!r}, which gives no global batch to hold: "
                f"give the command a {name} of at least 1, or leave out `hold: global_batch`"
            )
        return value


@dataclass(frozen=True)
class Configuration:
    """What a run is to be started with; the mappings of `messages.Proposal`."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    ddp: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    placeholders: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Knob name -> {"effect", "origin"}; derived values under the name of what was derived."""


def compose(spec: StudySpec, params: Mapping[str, Any], baseline: Baseline | None) -> Configuration:
    """The configuration for `params` (knob name -> value); no params give the default configuration.

    Placeholders that are not in `params` keep the default run's value. With `hold_global_batch` the
    accumulation follows the batch; that takes the baseline. Raises StudyError for a knob that the study does
    not have, and for a batch that cannot hold the global batch.
    """
    known = {knob.name: knob for knob in spec.knobs}
    if unknown := sorted(set(params) - set(known)):
        raise StudyError(f"study {spec.name} has no knob {unknown[0]}; its knobs are {', '.join(known)}")
    parts: dict[str, dict[str, Any]] = {
        "arguments": {}, "ddp": {}, "env": {}, "placeholders": dict(spec.defaults or {}), "values": {}
    }  # fmt: skip
    for knob in spec.knobs:
        if knob.name in params and is_active(knob, params):
            parts[knob.target][knob.key] = _value(knob, params[knob.name])
            parts["values"][knob.name] = {"effect": knob.effect, "origin": spec.sampler}
    if spec.hold_global_batch and BATCH in parts["arguments"]:
        parts["arguments"][ACCUMULATION] = _accumulation(parts["arguments"][BATCH], baseline)
        parts["values"][ACCUMULATION] = {"effect": "numerics", "origin": "hold: global_batch"}
    return Configuration(**parts)


def _value(knob: Knob, value: Any) -> Any:
    if knob.kind == "int":
        value = int(value)
    elif knob.kind == "float":
        value = float(value)
    return str(value) if knob.target == "env" else value


def _accumulation(batch: int, baseline: Baseline | None) -> int:
    """Micro-steps that hold the global batch with `batch` sequences per device."""
    if baseline is None:
        raise StudyError(
            "the global batch can be held only once the default run has reported its own: "
            "let the default run's trial finish first"
        )
    steps, rest = divmod(baseline.global_batch, batch * baseline.world_size)
    if rest or not steps:
        raise StudyError(
            f"{BATCH} = {batch} on {baseline.world_size} ranks cannot hold the global batch of "
            f"{baseline.global_batch}: choose a divisor of {baseline.global_batch // baseline.world_size}"
        )
    return steps


def restrict(spec: StudySpec, baseline: Baseline) -> StudySpec:
    """The study with only those values that can work for this baseline.

    With `hold_global_batch`, batches that cannot hold the global batch are dropped; StudyError if none is
    left. `static_graph` is left on only where the accumulation is 1: with more, DDP fails an assertion.
    What is left passes the checks that the study itself passed.
    """
    knobs = {knob.name: knob for knob in spec.knobs}
    if spec.hold_global_batch and BATCH in knobs:
        knobs[BATCH] = _holding(knobs[BATCH], baseline)
    if STATIC_GRAPH in knobs:
        knobs[STATIC_GRAPH] = _unaccumulated(replace(spec, knobs=tuple(knobs.values())), baseline)
    left = reachable(ordered(knobs.values()))
    if not left:
        raise StudyError(
            "no knob of the study can be set to anything with this job: with an accumulation above 1, "
            "static_graph cannot be on; add other knobs"
        )
    return replace(spec, knobs=left)


def _holding(knob: Knob, baseline: Baseline) -> Knob:
    """The batch knob with only the divisors of a rank's share of the global batch."""
    fitting = _divisors(baseline.global_batch // baseline.world_size)
    kept = tuple(choice for choice in knob.choices if choice in fitting)
    if knob.kind == "int":
        kept = tuple(batch for batch in fitting if takes(knob, batch) and _on_step(knob, batch))
    if not kept:
        raise StudyError(
            f"no {BATCH} of the study can hold the global batch of {baseline.global_batch} on "
            f"{baseline.world_size} ranks: choose from {', '.join(map(str, fitting))}"
        )
    return replace(knob, kind="choice", choices=kept, low=None, high=None, step=None, log=False)


def _divisors(number: int) -> list[int]:
    small = [divisor for divisor in range(1, math.isqrt(number) + 1) if number % divisor == 0]
    return sorted({*small, *(number // divisor for divisor in small)})


def _on_step(knob: Knob, value: int) -> bool:
    return knob.step is None or (value - int(knob.low or 0)) % int(knob.step) == 0


def _unaccumulated(spec: StudySpec, baseline: Baseline) -> Knob:
    """The static_graph knob, asked for only where the accumulation is 1 (no choice left: nowhere)."""
    knobs = {knob.name: knob for knob in spec.knobs}
    knob = knobs[STATIC_GRAPH]
    if True not in knob.choices:
        return knob
    without = replace(knob, choices=tuple(choice for choice in knob.choices if choice is not True))
    if spec.hold_global_batch and BATCH in knobs:
        per_rank = baseline.global_batch // baseline.world_size
        return _only_where(knob, knobs[BATCH], per_rank) or without
    if ACCUMULATION in knobs:
        return _only_where(knob, knobs[ACCUMULATION], 1) or without
    return knob if baseline.arguments.get(ACCUMULATION) == 1 else without


def _only_where(knob: Knob, parent: Knob, value: int) -> Knob | None:
    """`knob` with the condition that `parent` is `value`; None where the two cannot be had together."""
    if knob.when is not None and (knob.when.knob != parent.name or value not in knob.when.values):
        return None
    return replace(knob, when=Condition(parent.name, (value,))) if takes(parent, value) else None


def expects(spec: StudySpec) -> dict[str, list[str]]:
    """The names that the job's libraries must know: {"arguments": [...], "ddp": [...]}."""
    names: dict[str, list[str]] = {"arguments": [], "ddp": []}
    for knob in spec.knobs:
        if knob.target in names:
            names[knob.target].append(knob.key)
    if spec.hold_global_batch and BATCH in names["arguments"]:
        names["arguments"].append(ACCUMULATION)
    return names
