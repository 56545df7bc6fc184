"""A study as JSON, for the service and its database; what comes in is not trusted."""

from __future__ import annotations

import json
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .check import problems
from .errors import FieldError, Problem, StudyError, raise_for
from .spec import Budget, Condition, Knob, Objective, Proof, StudySpec

T = TypeVar("T")
Path = tuple[str, ...]

NESTED = (Knob, Objective, Budget, Proof, Condition)
MAX_DEPTH = 16
"""Of nested values in a choice."""
MAX_INT = 10**18
"""As in study files; databases and floats hold no more."""


def spec_to_json(spec: StudySpec) -> dict[str, Any]:
    """As a JSON object; `spec_from_json` gives the same study back."""
    return asdict(spec)


def spec_from_json(data: Mapping[str, Any]) -> StudySpec:
    """From a JSON object, with every check a study file gets; raises StudyError, which names each field."""
    spec = _record(StudySpec, data, ())
    try:
        json.dumps(spec_to_json(spec), ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        raise StudyError("expected Unicode text and finite numbers throughout") from None
    raise_for(problems(spec))
    return spec


def _record(kind: type[T], data: object, path: Path) -> T:
    """An instance of the dataclass `kind`; fields it does not know are skipped."""
    if not isinstance(data, Mapping):
        raise FieldError(Problem(path, f"expected an object, got {data!r:.80}"))
    hints, known = get_type_hints(kind), fields(kind)  # type: ignore[arg-type]
    for item in known:
        if item.name not in data and item.default is MISSING:
            raise FieldError(Problem((*path, item.name), "is missing: add it"))
    given = {item.name: data[item.name] for item in known if item.name in data}
    return kind(**{name: _value(hints[name], value, (*path, name)) for name, value in given.items()})


def _value(hint: Any, value: Any, path: Path) -> Any:
    """`value` as the type `hint` says, or a FieldError."""
    if hint in NESTED:
        return _record(hint, value, path)
    if isinstance(value, int) and abs(value) > MAX_INT:
        raise FieldError(Problem(path, "expected a number of at most 18 digits"))
    if hint is Any:
        return _json(value, path)
    return _READERS.get(get_origin(hint) or hint, _plain)(hint, value, path)


def _tuple(hint: Any, value: Any, path: Path) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise FieldError(Problem(path, f"expected a list, got {value!r:.80}"))
    return tuple(_value(get_args(hint)[0], item, (*path, str(n))) for n, item in enumerate(value))


def _mapping(hint: Any, value: Any, path: Path) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise FieldError(Problem(path, f"expected an object, got {value!r:.80}"))
    return {key: _value(get_args(hint)[1], item, (*path, key)) for key, item in value.items()}


def _literal(hint: Any, value: Any, path: Path) -> Any:
    if value not in get_args(hint):
        raise FieldError(Problem(path, f"expected one of {', '.join(get_args(hint))}, got {value!r:.80}"))
    return value


def _union(hint: Any, value: Any, path: Path) -> Any:
    """Of None and one other type, or of JSON's scalars."""
    options = [option for option in get_args(hint) if option is not type(None)]
    if value is None and len(options) < len(get_args(hint)):
        return None
    if len(options) == 1:
        return _value(options[0], value, path)
    if not isinstance(value, tuple(options)):
        raise FieldError(Problem(path, f"expected text, a number, true or false, got {value!r:.80}"))
    return value


def _plain(hint: Any, value: Any, path: Path) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not hint or (hint is float and not math.isfinite(value)):
        raise FieldError(Problem(path, f"expected {_NAMES[hint]}, got {value!r:.80}"))
    return value


def _json(value: Any, path: Path, depth: int = 0) -> Any:
    """Any JSON value without NaN, copied."""
    if depth > MAX_DEPTH:
        raise FieldError(Problem(path, f"expected a value nested at most {MAX_DEPTH} deep"))
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _json(item, path, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item, path, depth + 1) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise FieldError(Problem(path, f"expected a JSON value, got {value!r:.80}"))


_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
_READERS: dict[Any, Callable[[Any, Any, Path], Any]] = {
    tuple: _tuple,
    Mapping: _mapping,
    Literal: _literal,
    Union: _union,
    types.UnionType: _union,
}
