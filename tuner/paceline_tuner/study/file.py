"""The study file: YAML in a friendly form, read into a StudySpec."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

from . import units
from .catalogue import effect_of, legal_for, target_of
from .check import problems
from .conditions import ordered
from .document import Node, read
from .errors import FieldError, Problem, did_you_mean, raise_for
from .legal import is_number
from .spec import Budget, Condition, Knob, Objective, Proof, Scalar, StudySpec

Reader = Callable[[Node], Any]
SAMPLERS: tuple[str, ...] = get_args(get_type_hints(StudySpec)["sampler"])
UNSET = "unset"
ENDS = ("low", "high", "step")


def load_study(path: Path) -> StudySpec:
    """The study in a YAML file; StudyError names file, line and field of everything that is wrong with it."""
    document: Node | None = None

    def place(problem: Problem) -> str:
        line = problem.line or (document and document.find(problem.field).line)
        return f"{path}:{line}: " if line else f"{path}: "

    try:
        document = read(path)
        spec = _study(document)
        found: Iterable[Problem] = problems(spec)
    except FieldError as error:
        found = error.problems
    raise_for(found, place)
    return spec


def _study(document: Node) -> StudySpec:
    """The study in a document, not yet checked for sense; FieldError with all that cannot be read."""
    parts = _section(document, SECTIONS, required=("study", "command", "knobs", "objective"))
    hold = "hold" in parts
    knobs: _Knobs = parts["knobs"]
    return StudySpec(
        name=parts["study"],
        command=parts["command"],
        knobs=ordered(replace(knob, effect=effect_of(knob.name, hold)) for knob in knobs.knobs),
        objective=parts["objective"],
        budget=parts.get("budget", Budget()),
        proof=parts.get("proof", Proof()),
        hold_global_batch=hold,
        sampler=parts.get("sampler", "tpe"),
        seed=parts.get("seed", 0),
        env=parts.get("env"),
        defaults={**parts.get("defaults", {}), **knobs.defaults} or None,
    )


def _section(node: Node, readers: Mapping[str, Reader], required: tuple[str, ...] = ()) -> dict[str, Any]:
    """What the readers make of a mapping's entries; FieldError with everything that is wrong in it."""
    found: dict[str, Any] = {}
    wrong: list[Problem] = []
    entries = node.mapping(f"a mapping with {', '.join(readers)}")
    for key, child in entries.items():
        try:
            if key not in readers:
                child.fail(f"is unknown here: {did_you_mean(key, readers)}")
            found[key] = readers[key](child)
        except FieldError as error:
            wrong += error.problems
    wrong += [
        Problem((*node.field, key), "is missing: add it", node.line) for key in required if key not in entries
    ]
    if wrong:
        raise FieldError(*wrong)
    return found


# --- scalars


def _text(node: Node) -> str:
    return (
        node.content
        if isinstance(node.content, str) and node.content
        else node.fail(f"expected text, got {node}")
    )


def _whole(node: Node) -> int:
    value = node.value()
    return value if type(value) is int else node.fail(f"expected a whole number, got {node}")


def _number(node: Node) -> float:
    value: float = node.value()
    return value if is_number(value) else node.fail(f"expected a number, got {node}")


def _flag(node: Node) -> bool:
    value = node.value()
    return value if isinstance(value, bool) else node.fail(f"expected true or false, got {node}")


def _seconds(node: Node) -> float:
    return _converted(node, units.seconds)


def _share(node: Node) -> float:
    return _converted(node, units.share)


def _converted(node: Node, convert: Callable[[Any], float]) -> float:
    try:
        return convert(node.value())
    except ValueError as error:
        node.fail(str(error))


def _one_of(*options: str) -> Reader:
    def reader(node: Node) -> str:
        text = _text(node)
        return text if text in options else node.fail(f"{did_you_mean(text, options)}, got {text!r}")

    return reader


def _scalar(node: Node) -> Scalar:
    value = node.value()
    return value if isinstance(value, str | int | float) else node.fail(f"expected text or a number, got {node}")


# --- sections


def _command(node: Node) -> tuple[str, ...]:
    if isinstance(node.content, list):
        return tuple(_word(item) for item in node.content)
    try:
        return tuple(shlex.split(_text(node)))
    except ValueError as error:
        node.fail(f"cannot be split into words ({error}): balance the quotes, or write a list")


def _word(node: Node) -> str:
    if isinstance(node.content, dict):
        node.fail("expected text, got a mapping: quote a word that starts with a brace, as in '{lr}'")
    return node.content if isinstance(node.content, str) else node.fail(f"expected text, got {node}")


def _objective(node: Node) -> Objective:
    if isinstance(node.content, str):
        _one_of("throughput")(node)
        return Objective("throughput", "maximize")
    if "final" in node.mapping("throughput, or a mapping with throughput or final"):
        parts = _section(node, FINAL, required=("direction", "max_steps"))
        return Objective("final", parts["direction"], metric=parts["final"], max_steps=parts["max_steps"])
    parts = _section(node, THROUGHPUT, required=("throughput",))
    return Objective("throughput", "maximize", unit=parts.pop("throughput"), **parts)


def _budget(node: Node) -> Budget:
    parts = _section(node, BUDGET)
    return Budget(**{f"{key}_seconds" if key in ("wall", "run", "hang") else key: parts[key] for key in parts})


def _proof(node: Node) -> Proof:
    return Proof(**_section(node, PROOF))


def _environment(node: Node) -> dict[str, str]:
    return {name: _env_text(child) for name, child in node.mapping("variables and their values").items()}


def _env_text(node: Node) -> str:
    """A variable's value, as written: the environment knows only text."""
    if not isinstance(node.content, str) or (not node.quoted and node.content in ("", "~", "null", UNSET)):
        node.fail(f"expected the variable's value, got {node}: leave the variable out to leave it unset")
    return node.content


def _defaults(node: Node) -> dict[str, Scalar]:
    return {name: _scalar(child) for name, child in node.mapping("placeholders and their values").items()}


class _Knobs(NamedTuple):
    knobs: list[Knob]
    defaults: dict[str, Scalar]


def _knobs(node: Node) -> _Knobs:
    names = node.mapping("knobs, such as `learning_rate: {low: 1e-5, high: 1e-3}`")
    read = _section(node, dict.fromkeys(names, _knob))
    defaults = {knob.key: default for knob, default in read.values() if default is not None}
    return _Knobs([knob for knob, _ in read.values()], defaults)


def _knob(node: Node) -> tuple[Knob, Scalar]:
    """A knob, and the default of a placeholder."""
    name = node.field[-1]
    target, key = target_of(name)

    def values(child: Node) -> tuple[Any, ...]:
        return tuple(_choice(name, item) for item in child.items("a list of choices"))

    if isinstance(node.content, list):
        parts: dict[str, Any] = {"choices": values(node)}
    else:
        node.mapping("a list of choices, or a range such as {low: 1, high: 8}")
        readers = KNOB if target != "placeholders" else {**KNOB, "default": _scalar}
        parts = _section(node, {**readers, "choices": values})
    default = parts.pop("default", None)
    kind = _kind(name, parts)
    ends = {end: float(parts[end]) for end in ENDS if end in parts}
    return Knob(name, target, key, kind, "convergence", **{**parts, **ends}), default


def _kind(name: str, parts: Mapping[str, Any]) -> Any:
    if "choices" in parts:
        return "choice"
    ends = [parts[end] for end in ENDS if end in parts]
    return "float" if legal_for(name).number == "float" or any(type(end) is float for end in ends) else "int"


def _choice(name: str, node: Node) -> Any:
    """One value of the knob `name`; None for `unset`."""
    target = target_of(name)[0]
    if target == "env":
        return _env_text(node)
    if target == "ddp":
        return _ddp_value(node)
    if node.content == UNSET and not node.quoted:
        node.fail("`unset` is for ddp knobs only: leave it out, the default run has the job's own value anyway")
    return node.value()


def _ddp_value(node: Node) -> Any:
    if node.content == UNSET:
        return None
    value = node.value()
    return value if value is not None else node.fail("write `unset` for torch's own default")


def _when(node: Node) -> Condition:
    entries = node.mapping("a knob and its values, such as {dataloader_num_workers: [1, 2]}")
    if len(entries) != 1:
        node.fail(f"expected one knob and its values, got {len(entries)}")
    [(knob, child)] = entries.items()
    items = child.content if isinstance(child.content, list) else [child]
    return Condition(knob, tuple(_choice(knob, item) for item in items))


SECTIONS: dict[str, Reader] = {
    "study": _text,
    "command": _command,
    "knobs": _knobs,
    "hold": _one_of("global_batch"),
    "objective": _objective,
    "budget": _budget,
    "proof": _proof,
    "sampler": _one_of(*SAMPLERS),
    "seed": _whole,
    "env": _environment,
    "defaults": _defaults,
}
THROUGHPUT: dict[str, Reader] = {
    "throughput": _one_of("samples", "tokens"),
    "warmup_steps": _whole,
    "measure_steps": _whole,
}
FINAL: dict[str, Reader] = {"final": _text, "direction": _one_of("minimize", "maximize"), "max_steps": _whole}
BUDGET: dict[str, Reader] = {
    "trials": _whole,
    "wall": _seconds,
    "parallel": _whole,
    "run": _seconds,
    "hang": _seconds,
}
PROOF: dict[str, Reader] = {"min_pairs": _whole, "max_pairs": _whole, "width": _share}
KNOB: dict[str, Reader] = {"low": _number, "high": _number, "step": _number, "log": _flag, "when": _when}
