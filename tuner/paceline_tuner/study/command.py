"""`{name}` in a command: where a placeholder knob's value goes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

PLACEHOLDER = re.compile(r"(?<![{$])\{([A-Za-z_][A-Za-z0-9_]*)\}(?!\})")
"""`${NAME}` belongs to a shell and `{{name}}` to a template: neither is touched, nor is JSON."""


def placeholders_in(command: Sequence[str]) -> tuple[str, ...]:
    """The names of the placeholders, each once, in order."""
    return tuple(dict.fromkeys(name for word in command for name in PLACEHOLDER.findall(word)))


def fill(command: Sequence[str], values: Mapping[str, Any]) -> list[str]:
    """The command with each placeholder's value in its place, as text; KeyError for one without a value."""
    return [PLACEHOLDER.sub(lambda match: str(values[match[1]]), word) for word in command]
