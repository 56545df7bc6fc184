"""Values of a configuration file whose scalars were all read as text, each refused by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")
SWITCH = {**dict.fromkeys(("true", "yes", "on"), True), **dict.fromkeys(("false", "no", "off"), False)}


class WebConfigError(ValueError):
    """The web configuration cannot be used: the text names the key and what it takes."""


def mapping(value: Any, name: str, known: Iterable[str] | None) -> Mapping[str, Any]:
    """A mapping with no key but these, or with any keys; what is empty or absent is an empty one."""
    if value in (None, ""):
        return {}
    if not isinstance(value, dict):
        raise WebConfigError(f"{name or 'the file'}: expected keys and values, got {_kind(value)}")
    for key in value:
        if not isinstance(key, str) or (known is not None and key not in known):
            dotted = f"{name}.{key}" if name else str(key)
            raise WebConfigError(f"unknown key {dotted}: expected one of {', '.join(known or ())}")
    return value


def text(values: Mapping[str, Any], key: str, name: str) -> str:
    """Text; empty where it is absent."""
    value = values.get(key, "")
    if not isinstance(value, str):
        raise WebConfigError(f"{name}.{key}: expected text, got {_kind(value)}")
    return value


def texts(values: Mapping[str, Any], key: str, name: str) -> tuple[str, ...]:
    """A list of texts; none where it is absent."""
    value = values.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise WebConfigError(f"{name}.{key}: expected a list of texts, got {_kind(value)}")
    return tuple(value)


def boolean(values: Mapping[str, Any], key: str, name: str, default: bool) -> bool:
    """true or false."""
    value = values.get(key) or str(default)
    if not isinstance(value, str) or value.lower() not in SWITCH:
        raise WebConfigError(f"{name}.{key}: expected true or false, got {value!r}")
    return SWITCH[value.lower()]


def chosen(value: str, table: Mapping[str, T], name: str) -> T:
    """What the table says of one of its keys."""
    if value not in table:
        raise WebConfigError(f"{name}: expected one of {', '.join(table)}, got {value!r}")
    return table[value]


def _kind(value: Any) -> str:
    return "a list" if isinstance(value, list) else "keys and values" if isinstance(value, dict) else repr(value)
