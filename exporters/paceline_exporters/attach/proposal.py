"""The proposal this process was started with, as plain data."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from .stop import Rejected

VARIABLE = "PACELINE_PROPOSAL"
"""Environment variable: a path, or the JSON itself for nodes that share no files."""

EMPTY: dict[str, Any] = {}


@lru_cache(maxsize=1)
def current() -> dict[str, Any]:
    """The proposal, EMPTY when there is none; raises Rejected when it cannot be read."""
    text = os.environ.get(VARIABLE, "")
    if not text:
        return EMPTY
    try:
        if not text.lstrip().startswith("{"):
            text = Path(text).read_text()
        data = json.loads(text)
        if not isinstance(data, dict) or not isinstance(data.get("run_id"), str):
            raise ValueError("no object with a run_id")
    except (OSError, ValueError) as error:
        raise Rejected("unreadable", f"the proposal in {VARIABLE} cannot be read: {error}") from error
    return data


def section(name: str) -> dict[str, Any]:
    """One mapping of the proposal (arguments, ddp, env, placeholders, expects); empty when absent."""
    value = current().get(name)
    return value if isinstance(value, dict) else {}


def harness() -> dict[str, Any]:
    """The trial's harness; empty in a user's normal run."""
    return section("harness")


def given() -> bool:
    """Whether this process was started with a proposal, readable or not."""
    return bool(os.environ.get(VARIABLE))
