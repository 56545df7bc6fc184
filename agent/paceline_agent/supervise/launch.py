"""The command and environment a job is started with."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import paceline_exporters.attach
from paceline_exporters.attach.environment import allowed
from paceline_exporters.attach.harness import TRACKERS_OFF
from paceline_exporters.attach.proposal import VARIABLE
from paceline_exporters.messages import MessageError, Proposal

ATTACH_PATH = Path(paceline_exporters.attach.__file__).parent / "path"
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class LaunchError(Exception):
    """The job cannot be started as asked; the text says what to change."""


def read_proposal(text: str) -> Proposal:
    """A proposal from a path or from the JSON itself; raises LaunchError."""
    try:
        content = text if text.lstrip().startswith("{") else Path(text).read_text()
        return Proposal.decode(json.loads(content))
    except (OSError, ValueError) as error:
        raise LaunchError(f"--proposal: cannot read {text[:80]!r}: {error}") from error


def fill(command: Sequence[str], proposal: Proposal | None) -> list[str]:
    """The command with the proposal's placeholders filled in; raises LaunchError for one that it does not have.

    Braces that the proposal does not name are the user's own.
    """
    if proposal is None or not proposal.placeholders:
        return list(command)
    unused = set(proposal.placeholders) - {name for word in command for name in _PLACEHOLDER.findall(word)}
    if unused:
        raise LaunchError(f"the command has no placeholder {{{min(unused)}}}, but the proposal sets it")
    values = proposal.placeholders

    def value(match: re.Match[str]) -> str:
        name = match[1]
        return str(values[name]) if name in values else match[0]

    return [_PLACEHOLDER.sub(value, word) for word in command]


def environment(
    base: Mapping[str, str], proposal: Proposal | None, token: str, ring_directory: str | None
) -> dict[str, str]:
    """The job's environment: ours at the head of PYTHONPATH, the proposal, its allowed variables.

    Raises LaunchError for a variable a proposal may not set.
    """
    result = dict(base)
    result["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ATTACH_PATH), base.get("PYTHONPATH", "")]))
    result["PACELINE_SUPERVISOR"] = token
    rings = ring_directory or base.get("PACELINE_RING_DIR")
    if rings:
        result["PACELINE_RING_DIR"] = str(Path(rings).absolute())  # the job may change its directory
    result.pop(VARIABLE, None)
    if proposal is not None:
        _check(proposal)
        result |= TRACKERS_OFF if proposal.harness else {}
        result |= proposal.env
        result[VARIABLE] = json.dumps(proposal.encode())
    return result


def _check(proposal: Proposal) -> None:
    for name, value in proposal.env.items():
        if not allowed(name):
            raise LaunchError(
                f"the proposal sets the environment variable {name}, which is not on the allow-list: "
                "set it in the job's own environment instead"
            )
        if not isinstance(value, str):
            raise MessageError(f"field 'env': expected text for {name}, got {value!r}")


def isolated_python(command: Sequence[str]) -> bool:
    """Whether the command runs Python with -I or -E, which ignore PYTHONPATH, or -S: none runs our hooks."""
    for index, word in enumerate(command):
        if Path(word).name.startswith("python"):
            options = []
            for option in command[index + 1 :]:
                if not re.fullmatch(r"-[bBdEhiIOqsSuvVx?P]+", option):
                    break
                options.append(option)
            return any(set(option) & set("IES") for option in options)
    return False
