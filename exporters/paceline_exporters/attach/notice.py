"""What we say on the job's standard error: once per subject, one line, and never an exception."""

from __future__ import annotations

import sys

_said: set[str] = set()


def say(text: str) -> None:
    """One line on standard error."""
    try:
        sys.stderr.write(f"paceline: {text}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # a closed or missing standard error is the job's business
        return


def failed(doing: str, error: BaseException) -> None:
    """Say once that something of ours failed and that training goes on without it."""
    if doing not in _said:
        _said.add(doing)
        say(f"{doing} failed, training goes on without it: {type(error).__name__}: {error}")
