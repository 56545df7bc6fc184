"""A configuration's environment as shell code."""

from __future__ import annotations

import shlex

from paceline_tuner.study.compose import Configuration


def as_shell_exports(configuration: Configuration) -> str:
    """One `export NAME=value` a line, quoted for a POSIX shell; empty when there is no environment."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(configuration.env.items()))
