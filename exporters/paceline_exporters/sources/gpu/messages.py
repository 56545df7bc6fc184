"""The child's lines as messages. The child is trusted, but it is killed at any byte, and what a driver says is
its own: what does not parse is left out, never raised."""

from __future__ import annotations

import json
from typing import Any

Message = list[Any]
"""As `child.main` describes them; the first item is the kind."""

_SHAPES: dict[str, tuple[type | tuple[type, ...], ...]] = {
    "begin": (str, str, (int, float)),
    "topology": (dict, list, list),
    "data": (str, str, (int, float), dict),
    "lost": (str, str),
    "xid": (str, int, (int, float)),
    "rest": ((int, float), (int, float), dict),
    "gone": (str,),
}
_MOST_BYTES = 2**22
"""Of an unfinished line: a child that writes no line's end at all must not fill the memory."""


class Lines:
    """Cuts what a pipe delivers into lines, and the lines into messages."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[Message]:
        """The messages that this chunk completes."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > _MOST_BYTES:
            self._rest = b""
        return [message for line in lines if (message := parse(line)) is not None]


def parse(line: bytes) -> Message | None:
    """One line's message; None for one that is not whole, or of a kind or shape unknown here."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, list) or not message or not isinstance(message[0], str):
        return None
    shape = _SHAPES.get(message[0])
    if shape is None or len(message) != len(shape) + 1:
        return None
    fits = all(isinstance(item, kind) for item, kind in zip(message[1:], shape, strict=True))
    return message if fits else None
