"""What makes a well-formed study senseless, unsafe or unfair: the same checks for files and for JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

from .check_knob import knob_problems
from .command import placeholders_in
from .errors import Problem
from .legal import is_number
from .spec import GLOBAL_BATCH_FIELDS, Knob, StudySpec

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
BATCH, ACCUMULATION = GLOBAL_BATCH_FIELDS
MIN_PAIRS = 6
SOCKETS = ("env.NCCL_SOCKET_NTHREADS", "env.NCCL_NSOCKS_PERTHREAD")
SHELL_WORDS = ("|", "||", "&", "&&", ";", ">", ">>", "<", "2>&1")
ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


def problems(spec: StudySpec) -> Iterator[Problem]:
    """Everything that is wrong with the study."""
    return chain(
        _identity(spec),
        _command(spec),
        knob_problems(spec),
        _global_batch(spec),
        _together(spec),
        _placeholders(spec),
        _objective(spec),
        _budget(spec),
        _proof(spec),
    )


def _identity(spec: StudySpec) -> Iterator[Problem]:
    if not NAME.fullmatch(spec.name):
        yield Problem(
            ("study",),
            f"expected at most 63 small letters, digits and inner dashes, got {spec.name!r}: rename it",
        )
    if not 0 <= spec.seed < 2**32:
        yield Problem(("seed",), f"expected a whole number from 0 to 2**32 - 1, got {spec.seed}")


def _command(spec: StudySpec) -> Iterator[Problem]:
    if not spec.command or not spec.command[0]:
        yield Problem(("command",), "expected the command that starts the job, got nothing")
        return
    if word := next((word for word in spec.command if word in SHELL_WORDS), None):
        yield Problem(
            ("command",),
            f"no shell runs the command, so {word!r} has no meaning: write [bash, -c, 'the command']",
        )
    if ASSIGNMENT.match(spec.command[0]):
        yield Problem(
            ("command",), f"expected a program first, got {spec.command[0]!r}: set variables under env:"
        )
    if any("\0" in word for word in spec.command):
        yield Problem(("command",), "expected text without NUL characters")


def _global_batch(spec: StudySpec) -> Iterator[Problem]:
    """A study must not win by making the global batch larger."""
    names = [knob.name for knob in spec.knobs if knob.name in GLOBAL_BATCH_FIELDS]
    if spec.hold_global_batch and ACCUMULATION in names:
        yield Problem(
            ("knobs", ACCUMULATION),
            f"with `hold: global_batch` the accumulation follows the batch: leave this knob out, "
            f"and let {BATCH} be the one to choose",
        )
    elif spec.objective.kind == "throughput" and not spec.hold_global_batch and names:
        yield Problem(
            ("knobs", names[0]),
            "leaves the global batch free, and the largest batch would always win a throughput study: "
            "add `hold: global_batch`, or judge by {final: eval_loss, ...}",
        )


def _together(spec: StudySpec) -> Iterator[Problem]:
    """Values that cannot be had together."""
    knobs = {knob.name: knob for knob in spec.knobs}
    half = [knobs[name] for name in ("bf16", "fp16") if name in knobs and True in knobs[name].choices]
    if len(half) == 2 and not any(_excludes(one, other) for one, other in (half, half[::-1])):
        yield Problem(
            ("knobs", half[1].name),
            f"cannot be on together with {half[0].name}: add `when: {{{half[0].name}: [false]}}`",
        )
    if all(name in knobs for name in SOCKETS):
        threads, sockets = (_largest(knobs[name]) for name in SOCKETS)
        if threads * sockets > 64:
            yield Problem(
                ("knobs", SOCKETS[1]),
                f"at most 64 sockets are legal, and {threads:g} x {sockets:g} is more: lower one of the two",
            )


def _excludes(knob: Knob, other: Knob) -> bool:
    return knob.when is not None and knob.when.knob == other.name and True not in knob.when.values


def _largest(knob: Knob) -> float:
    values = [float(choice) for choice in knob.choices if str(choice).isdigit()]
    return max([knob.high or 0, *values])


def _placeholders(spec: StudySpec) -> Iterator[Problem]:
    used, defaults = placeholders_in(spec.command), spec.defaults or {}
    knobs = {knob.key: knob.name for knob in spec.knobs if knob.target == "placeholders"}
    for name in used:
        if name not in defaults:
            field = ("knobs", knobs[name]) if name in knobs else ("command",)
            yield Problem(
                field,
                f"the placeholder {{{name}}} has no value for the default run: "
                f"add `default:` to a knob placeholder.{name}, or `defaults: {{{name}: ...}}`",
            )
    for name in {**knobs, **defaults}:
        if name not in used:
            field = ("knobs", knobs[name]) if name in knobs else ("defaults", name)
            yield Problem(field, f"the command has no placeholder {{{name}}}: put it where the value goes")
    for name, value in defaults.items():
        if value is None:
            yield Problem(("defaults", name), "expected text, a number, true or false")


def _objective(spec: StudySpec) -> Iterator[Problem]:
    objective = spec.objective
    if objective.kind == "throughput":
        if objective.direction != "maximize":
            yield Problem(("objective", "direction"), "expected maximize: throughput is better when higher")
        if objective.warmup_steps < 0:
            yield Problem(("objective", "warmup_steps"), "expected a whole number of at least 0")
        if objective.measure_steps < 1:
            yield Problem(("objective", "measure_steps"), "expected a whole number of at least 1")
        return
    if not re.fullmatch(r"[A-Za-z][\w./-]*", objective.metric):
        yield Problem(("objective", "final"), f"expected a metric such as eval_loss, got {objective.metric!r}")
    if objective.max_steps < 1:
        yield Problem(("objective", "max_steps"), "expected the number of steps of each run, at least 1")


def _budget(spec: StudySpec) -> Iterator[Problem]:
    budget = spec.budget
    for name in ("trials", "parallel"):
        if getattr(budget, name) < 1:
            yield Problem(("budget", name), f"expected a whole number of at least 1, got {getattr(budget, name)}")
    for name, value in (
        ("wall", budget.wall_seconds),
        ("run", budget.run_seconds),
        ("hang", budget.hang_seconds),
    ):
        if value is not None and not (is_number(value) and value > 0):
            yield Problem(("budget", name), f"expected a duration above 0, got {value}")
    if budget.parallel > 1 and spec.objective.kind == "throughput":
        yield Problem(
            ("budget", "parallel"),
            "expected 1: runs on one machine would slow each other and spoil the throughput of both",
        )


def _proof(spec: StudySpec) -> Iterator[Problem]:
    proof = spec.proof
    if proof.max_pairs == 0:
        return
    if proof.min_pairs < MIN_PAIRS:
        yield Problem(
            ("proof", "min_pairs"),
            f"expected at least {MIN_PAIRS}, got {proof.min_pairs}: fewer pairs can give no 95 % interval "
            "(`max_pairs: 0` leaves the proof out)",
        )
    if proof.max_pairs < proof.min_pairs:
        yield Problem(
            ("proof", "max_pairs"), f"expected at least min_pairs ({proof.min_pairs}), got {proof.max_pairs}"
        )
    if not 0 < proof.width < 1:
        yield Problem(("proof", "width"), f"expected a share such as 5%, got {proof.width}")
