"""A configuration as command-line flags of a script that uses HfArgumentParser."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from paceline_tuner.study.compose import Configuration

from .job import as_job


class Flags(NamedTuple):
    """Words to append to a command, and a sentence for each thing that they cannot say."""

    words: tuple[str, ...]
    notes: tuple[str, ...]


def as_flags(configuration: Configuration) -> Flags:
    """`--learning_rate 0.0005 --bf16 True`; mappings as JSON.

    The environment is not in it (see `as_shell_exports`).
    """
    arguments, notes = as_job(configuration)
    words = [word for name, value in arguments.items() if value is not None for word in _flag(name, value)]
    absent = tuple(
        f"leave --{name} out of the command, since no value stands for its default"
        for name, value in arguments.items()
        if value is None
    )
    return Flags(tuple(words), notes + absent)


def _flag(name: str, value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [f"--{name}", json.dumps(value, sort_keys=True)]
    if isinstance(value, list | tuple):
        return [f"--{name}", *map(str, value)]
    return [f"--{name}", str(value)]
