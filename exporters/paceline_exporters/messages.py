"""The messages that travel between rings, agent, submitter and tuner, as JSON.

Every message carries `schema`; readers skip what they do not know. Numbers that are unknown travel as null
(JSON has no NaN). `decode` of each class checks untrusted input and raises `MessageError`, which names the
field; the service answers it with status 400.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

SCHEMA = 1

type_names = {str: "text", int: "an integer", float: "a number", bool: "true or false", dict: "an object"}

RunKind = Literal["trial", "pair", "normal"]
OutcomeState = Literal["finished", "failed", "rejected", "pruned", "interrupted"]
OUTCOME_STATES: tuple[OutcomeState, ...] = ("finished", "failed", "rejected", "pruned", "interrupted")
OUTCOME_REASONS = ("done", "oom", "nan", "crash", "hang", "killed", "rejected", "stopped", "interrupted")

LARGEST = 2**63 - 1
"""Integers beyond it fit neither a database nor a float64's exact range; no reader takes them."""

Value = str | int | float | bool | None
"""What a knob can be set to; JSON scalars. Structured arguments (`lr_scheduler_kwargs`) are dicts of these."""


class MessageError(ValueError):
    """A message that its reader cannot take; the text names the field and what was expected."""


def require(data: Mapping[str, Any], key: str, kind: type | tuple[type, ...]) -> Any:
    """The field `key` of `data`, or a MessageError that says what it must be."""
    if not isinstance(data, Mapping):
        raise MessageError(f"expected an object with a field {key!r}, got {data!r:.80}")
    value = data.get(key)
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if isinstance(value, bool) and bool not in kinds:
        value = None
    if isinstance(value, int) and abs(value) > LARGEST:
        value = None
    if not isinstance(value, kinds):
        expected = " or ".join(type_names.get(k, k.__name__) for k in kinds)
        raise MessageError(f"field {key!r}: expected {expected}, got {data.get(key)!r}")
    return value


def _is_number(value: object) -> bool:
    if isinstance(value, float):
        return True
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def canonical(value: object) -> str:
    """Canonical JSON: sorted keys, no spaces, so that equal configurations hash equally."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def finite_or_none(value: float) -> float | None:
    """NaN and infinities as None, for JSON."""
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class Harness:
    """What holds for trials and pairs only, never for a user's normal run.

    The process that reads it keeps the user's checkpoints, trackers and hub untouched: output_dir becomes
    `output_dir`, saving, evaluation, hub push, trackers and resuming are off, and the script ends when
    train() returns (after one evaluate() if `evaluate`).
    """

    output_dir: str
    """Directory of the run's own; stands in for the job's output_dir."""
    max_steps: int
    """Optimizer steps to run."""
    seed: int
    evaluate: bool = False
    """Evaluate once after the last step, because the objective needs it."""


@dataclass(frozen=True)
class Proposal:
    """A configuration for one run. The default configuration is the empty proposal."""

    study: str
    trial: int
    run_id: str
    kind: RunKind
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """TrainingArguments field -> value."""
    ddp: Mapping[str, Value] = field(default_factory=dict)
    """DistributedDataParallel keyword -> value; null is torch's own *unset*."""
    env: Mapping[str, str] = field(default_factory=dict)
    placeholders: Mapping[str, Value] = field(default_factory=dict)
    """`{name}` in the command -> value."""
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Knob name -> {"effect": "speed" | "numerics" | "convergence", "origin": who chose it}."""
    expects: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Names the study may set ("arguments", "ddp"): the job's libraries must know them, also in the default run,
    so that a study with an impossible knob ends at its first run."""
    harness: Harness | None = None

    @property
    def hash(self) -> str:
        """Identity of the configuration, equal on all ranks; not of paths and tokens."""
        keys = {
            "arguments": self.arguments,
            "ddp": self.ddp,
            "env": self.env,
            "placeholders": self.placeholders,
        }
        import hashlib  # not before: it loads OpenSSL, which the agent does without

        return hashlib.sha256(canonical(keys).encode()).hexdigest()[:16]

    def encode(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"schema": SCHEMA, **asdict(self), "hash": self.hash}

    @classmethod
    def decode(cls, data: Mapping[str, Any]) -> Self:
        """From a JSON object; raises MessageError."""
        kind = require(data, "kind", str)
        if kind not in ("trial", "pair", "normal"):
            raise MessageError(f"field 'kind': expected trial, pair or normal, got {kind!r}")
        harness = data.get("harness")
        return cls(
            study=require(data, "study", str),
            trial=require(data, "trial", int),
            run_id=require(data, "run_id", str),
            kind=kind,
            harness=None if harness is None else _harness(require(data, "harness", dict)),
            **{
                key: require(data, key, dict) if key in data else {}
                for key in ("arguments", "ddp", "env", "placeholders", "values", "expects")
            },
        )


def _harness(data: Mapping[str, Any]) -> Harness:
    return Harness(
        output_dir=require(data, "output_dir", str),
        max_steps=require(data, "max_steps", int),
        seed=require(data, "seed", int),
        evaluate=bool(data.get("evaluate", False)),
    )


@dataclass(frozen=True)
class Event:
    """A rare thing that happened in a rank."""

    number: int
    kind: str
    wall: float
    """Unix time, seconds."""
    step: float | None
    detail: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def decode(cls, data: Mapping[str, Any]) -> Self:
        """From a JSON object; raises MessageError."""
        return cls(
            number=require(data, "number", int),
            kind=require(data, "kind", str),
            wall=float(require(data, "wall", (int, float))),
            step=None if data.get("step") is None else float(require(data, "step", (int, float))),
            detail=require(data, "detail", dict) if "detail" in data else {},
        )


@dataclass(frozen=True)
class Window:
    """Consecutive step records of one ring: [first, last], one list per field, each last-first+1 long.

    `columns` maps names of `layout.STEP_FIELDS` to values, null where unknown; a column that is unknown
    throughout is left out. A record that was lost (overwritten or torn) is null in every column.
    """

    first: int
    last: int
    columns: Mapping[str, Sequence[float | None]]
    evidence: Mapping[str, float] = field(default_factory=dict)
    """What the node saw in that time (ratios, bytes, deltas); empty where nobody sampled."""

    @classmethod
    def decode(cls, data: Mapping[str, Any]) -> Self:
        """From a JSON object; raises MessageError."""
        first, last = require(data, "first", int), require(data, "last", int)
        columns = require(data, "columns", dict)
        if not 0 <= first <= last:
            raise MessageError(f"field 'first': expected 0 <= first <= last, got {first} and {last}")
        for name, values in columns.items():
            if not isinstance(values, list) or len(values) != last - first + 1:
                raise MessageError(f"column {name!r}: expected a list of {last - first + 1} numbers")
            if not all(value is None or _is_number(value) for value in values):
                raise MessageError(f"column {name!r}: expected numbers or null")
        evidence = require(data, "evidence", dict) if "evidence" in data else {}
        return cls(first, last, columns, evidence)


@dataclass(frozen=True)
class RingReport:
    """What is new about one ring since the tuner's last acknowledgement."""

    ring: str
    """UUID, hexadecimal."""
    run_id: str
    rank: int
    world_size: int
    attempt: int
    node: str
    alive: bool
    """The trainer still holds its record lock."""
    generation: int
    """Of the header; grows with every change of it."""
    header: Mapping[str, Any] | None = None
    """The header's JSON when it changed since it was last acknowledged."""
    events: Sequence[Event] = ()
    window: Window | None = None

    @classmethod
    def decode(cls, data: Mapping[str, Any]) -> Self:
        """From a JSON object; raises MessageError."""
        ring = require(data, "ring", str)
        window, header = data.get("window"), data.get("header")
        events = require(data, "events", list) if "events" in data else []
        return cls(
            ring=ring,
            run_id=require(data, "run_id", str),
            rank=require(data, "rank", int),
            world_size=require(data, "world_size", int),
            attempt=require(data, "attempt", int),
            node=require(data, "node", str),
            alive=require(data, "alive", bool),
            generation=require(data, "generation", int),
            header=None if header is None else require(data, "header", dict),
            events=tuple(Event.decode(item) for item in events),
            window=None if window is None else Window.decode(require(data, "window", dict)),
        )


@dataclass(frozen=True)
class Report:
    """POST /v1/windows: one reporter's news of its rings. Answered by `Acknowledgement` after the commit."""

    reporter: str
    """"agent" or "run"."""
    node: str
    rings: Sequence[RingReport]

    def encode(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def decode(cls, data: Mapping[str, Any]) -> Self:
        """From a JSON object; raises MessageError."""
        return cls(
            reporter=require(data, "reporter", str),
            node=require(data, "node", str),
            rings=tuple(RingReport.decode(item) for item in require(data, "rings", list)),
        )


@dataclass(frozen=True)
class RingMark:
    """What the tuner has of one ring, durably: the reporter goes on from here."""

    next_record: int
    next_event: int
    generation: int
    known: bool
    """False: the run is not the tuner's; nothing was kept and nothing more is wanted."""


@dataclass(frozen=True)
class Acknowledgement:
    """The answer to a Report: a mark per ring UUID."""

    rings: Mapping[str, RingMark]

    def encode(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def decode(cls, data: Mapping[str, Any]) -> Self:
        """From a JSON object; raises MessageError."""
        marks = require(data, "rings", dict)
        return cls({ring: _mark(mark) for ring, mark in marks.items()})


def _mark(data: Mapping[str, Any]) -> RingMark:
    return RingMark(
        next_record=require(data, "next_record", int),
        next_event=require(data, "next_event", int),
        generation=require(data, "generation", int),
        known=require(data, "known", bool),
    )


@dataclass(frozen=True)
class Outcome:
    """How a run ended, in the supervisor's words (`paceline run --outcome FILE`) and the submitter's
    (POST /v1/runs/RUN/end)."""

    state: OutcomeState
    reason: str
    """One of OUTCOME_REASONS."""
    detail: str = ""
    """One sentence for people: what happened and what to do."""
    exit_code: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The last evaluation's metrics."""
    code: str = ""
    """For rejected runs: unknown_name, not_effective, ranks_differ, unsafe."""

    def encode(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def decode(cls, data: Mapping[str, Any]) -> Self:
        """From a JSON object; raises MessageError."""
        state, reason = require(data, "state", str), require(data, "reason", str)
        if state not in OUTCOME_STATES:
            raise MessageError(f"field 'state': expected one of {', '.join(OUTCOME_STATES)}, got {state!r}")
        if reason not in OUTCOME_REASONS:
            raise MessageError(f"field 'reason': expected one of {', '.join(OUTCOME_REASONS)}, got {reason!r}")
        metrics = require(data, "metrics", dict) if "metrics" in data else {}
        exit_code = data.get("exit_code")
        return cls(
            state=state,
            reason=reason,
            detail=str(data.get("detail", "")),
            exit_code=exit_code if isinstance(exit_code, int) else None,
            metrics={str(k): float(v) for k, v in metrics.items() if _is_number(v)},
            code=str(data.get("code", "")),
        )


@dataclass(frozen=True)
class Decision:
    """The tuner's answer to a submitter's heartbeat: go on, or stop all ranks."""

    action: Literal["continue", "stop"]
    reason: str
    progress: Mapping[str, float] = field(default_factory=dict)
    """What is known of the run: step, steps, throughput (per second over the measured steps so far)."""

    def encode(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"schema": SCHEMA, **asdict(self)}
