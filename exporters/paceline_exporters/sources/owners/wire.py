"""Protocol buffers as far as an answer of strings and messages needs it: length-delimited fields, others skipped.

Encoding: protobuf.dev/programming-guides/encoding. The protobuf package does the same for 2.2 MiB of memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = Mapping[int, "tuple[str, Schema | None]"]
"""Field number -> name, and the schema of a message; None for a string."""
Message = dict[str, list[Any]]
"""Every field of the schema, each as a list: what is not repeated has one value or none."""

_FIXED_BYTES = {1: 8, 5: 4}
_VARINT, _DELIMITED = 0, 2
_MOST_VARINT_BYTES = 10


class WireError(ValueError):
    """These bytes are no message."""


def decode(data: bytes, schema: Schema) -> Message:
    """The fields that the schema names. Raises WireError."""
    return _decode(data, 0, len(data), schema)


def text(message: Message, name: str) -> str:
    """A string that is not repeated: the last one counts, none is empty."""
    values = message[name]
    return str(values[-1]) if values else ""


def _decode(data: bytes, at: int, end: int, schema: Schema) -> Message:
    message: Message = {name: [] for name, _ in schema.values()}
    while at < end:
        key, at = _varint(data, at)
        if key & 7 != _DELIMITED:
            at = _skipped(data, at, key & 7)
            continue
        length, start = _varint(data, at)
        at = start + length
        if at <= end and key >> 3 in schema:
            name, inner = schema[key >> 3]
            value = data[start:at].decode(errors="replace") if inner is None else _decode(data, start, at, inner)
            message[name].append(value)
    if at > end:
        raise WireError("a field runs beyond its message")
    return message


def _skipped(data: bytes, at: int, kind: int) -> int:
    """Where the next field begins."""
    if kind == _VARINT:
        return _varint(data, at)[1]
    if kind not in _FIXED_BYTES:
        raise WireError(f"wire type {kind}")
    return at + _FIXED_BYTES[kind]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    if at < len(data) and data[at] < 0x80:  # most are this short
        return data[at], at + 1
    value = 0
    for index, byte in enumerate(data[at : at + _MOST_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise WireError("a number without an end")
