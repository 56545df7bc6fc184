"""JSON schemas of the messages, made from the dataclasses that decode them."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from paceline_exporters.messages import Acknowledgement, Decision, Outcome, Proposal, Report
from paceline_tuner.study.spec import StudySpec

Schema = dict[str, Any]
ROOTS = (StudySpec, Proposal, Report, Acknowledgement, Outcome, Decision)
PLAIN: Mapping[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    Any: {},
}


def components() -> dict[str, Schema]:
    """Every message by its class's name, and the form of all errors."""
    found: dict[str, Schema] = {"Error": _error()}
    for root in ROOTS:
        _record(root, found)
    return found


def reference(name: str) -> Schema:
    """A pointer to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def _error() -> Schema:
    fields = {"code": {"type": "string"}, "message": {"type": "string"}}
    error = {"type": "object", "properties": fields, "required": list(fields)}
    return {"type": "object", "properties": {"error": error}, "required": ["error"]}


def _record(kind: Any, found: dict[str, Schema]) -> Schema:
    if kind.__name__ not in found:
        schema: Schema = {"type": "object", "description": _summary(kind)}
        found[kind.__name__] = schema
        hints = get_type_hints(kind)
        members = dataclasses.fields(kind)
        schema["properties"] = {item.name: _of(hints[item.name], found) for item in members}
        schema["required"] = [item.name for item in members if _is_required(item)]
    return reference(kind.__name__)


def _summary(kind: Any) -> str:
    return " ".join((kind.__doc__ or "").split())


def _is_required(item: dataclasses.Field[Any]) -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


def _of(hint: Any, found: dict[str, Schema]) -> Schema:
    if dataclasses.is_dataclass(hint):
        return _record(hint, found)
    if hint in PLAIN:
        return dict(PLAIN[hint])
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_of(option, found) for option in inner]}
    if origin in (tuple, list, Sequence):
        return {"type": "array", "items": _of(inner[0], found)}
    return {"type": "object", "additionalProperties": _of(inner[1], found)}
