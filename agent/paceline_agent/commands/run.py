"""Watch a training command without changing it, and apply a proposal to it.

Example: paceline run -- torchrun --nproc-per-node 8 train.py --output_dir out
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paceline_exporters.attach.recorder import DEFAULT_DIRECTORY
from paceline_exporters.messages import MessageError, Outcome, Proposal
from paceline_exporters.rings import RingDirectory, default_directory

from ..peer import DEFAULT_PORT, PeerError, address
from ..supervise.launch import LaunchError, environment, fill, isolated_python, read_proposal
from ..supervise.outcome import NO_STEP, NOT_ATTACHED, conclude, why_not_attached
from ..supervise.process import Supervised
from ..supervise.reporting import Reporter, ReportingSettings
from ..supervise.rings import OwnRing, OwnRings
from ..supervise.summary import summarize

GRACE_SECONDS = 15.0
"""A trial that was told to stop is killed after so long; a normal run is never killed by us."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags of `paceline run`."""
    parser.add_argument(
        "--proposal", metavar="FILE|JSON", help="configuration to apply; a path or the JSON itself"
    )
    parser.add_argument(
        "--tuner", metavar="URL", default=os.environ.get("PACELINE_TUNER", ""), help="report to it"
    )
    parser.add_argument(
        "--agent", metavar="URL", default=f"http://127.0.0.1:{DEFAULT_PORT}", help="this node's agent"
    )
    parser.add_argument(
        "--rings.directory",
        dest="rings",
        default=None,
        help=f"where rings are made; default: $PACELINE_RING_DIR, else {DEFAULT_DIRECTORY}",
    )
    parser.add_argument("--outcome", metavar="FILE", type=Path, help="write how the run ended to FILE, as JSON")
    parser.add_argument("--leash", action="store_true", help="end the command when standard input closes")
    parser.add_argument("--quiet", action="store_true", help="no summary at the end")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and the command to run")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    token = uuid.uuid4().hex
    try:
        if not command:
            raise LaunchError("no command: put it after --, as in `paceline run -- torchrun train.py`")
        proposal = read_proposal(arguments.proposal) if arguments.proposal else None
        filled = fill(command, proposal)
        _check(arguments)
        if shutil.which(filled[0]) is None:
            raise LaunchError(f"cannot start {filled[0]!r}: {_missing(filled[0])}")
        variables = environment(os.environ, proposal, token, arguments.rings)
        return _supervise(arguments, filled, variables, token, proposal)
    except (LaunchError, MessageError) as error:
        _say(str(error))
        _write(arguments.outcome, Outcome("failed", "crash", str(error), 127), [])
        return 127


def _check(arguments: argparse.Namespace) -> None:
    """What would otherwise be found wanting only when the job has ended."""
    if arguments.tuner and not arguments.tuner.startswith(("http://", "https://")):
        raise LaunchError(f"--tuner: expected a URL such as http://127.0.0.1:19471, got {arguments.tuner!r}")
    try:
        _agent(arguments)
    except PeerError as error:
        raise LaunchError(f"--agent: {error}") from error
    if arguments.outcome is not None and not os.access(arguments.outcome.parent, os.W_OK):
        raise LaunchError(f"--outcome: cannot write to the directory {str(arguments.outcome.parent)!r}")


def _agent(arguments: argparse.Namespace) -> str:
    """The agent's URL; empty where none is to be asked. Raises PeerError."""
    return address(arguments.agent).url() if arguments.agent else ""


def _missing(command: str) -> str:
    """Why no command is found, for its user."""
    if os.sep not in command:
        return "no such command on PATH"
    return "it is not executable: chmod +x it" if Path(command).is_file() else "no such file"


def _supervise(
    arguments: argparse.Namespace,
    command: list[str],
    variables: dict[str, str],
    token: str,
    proposal: Proposal | None,
) -> int:
    directory = Path(arguments.rings) if arguments.rings else default_directory()
    reporter = _reporter(arguments, OwnRings(directory, token))
    isolated = isolated_python(command)
    if isolated:
        _say(f"not attached: {NOT_ATTACHED}")
    trial = proposal is not None and proposal.harness is not None
    # Each thread that looks at the rings has its own descriptors: the reporter's, the watch for a trial's end.
    job = Supervised(command, variables, GRACE_SECONDS if trial else None, OwnRings(directory, token).finished)
    status = job.run(arguments.leash)
    try:
        rings = OwnRings(directory, token)
        last = rings.last_attempt()
        why = why_not_attached(directory)
        outcome = conclude(0 if job.lingered else status, job.stop_reason, last, proposal, why)
        _write(arguments.outcome, outcome, [])  # before the flush: a second signal may end us in it
        if not arguments.quiet:
            missed = [] if isolated else [f"not attached: {why}"]
            _summarize(outcome, (summarize(last) or _no_step(outcome)) if last else missed, last)
        _flush(reporter, arguments, outcome)
        rings.close()
        _sweep(directory)
    except Exception as error:  # noqa: BLE001 - whatever fails in our telling, the job's own status stands
        _say(f"cannot say how the run ended: {type(error).__name__}: {error}")
    return status


def _flush(reporter: Reporter | None, arguments: argparse.Namespace, outcome: Outcome) -> None:
    unsent = reporter.finish() if reporter is not None else []
    if unsent:
        _write(arguments.outcome, outcome, unsent)
    if unsent and arguments.outcome is None:
        _say(f"{arguments.tuner} did not answer: the last steps were not reported; --outcome FILE keeps them")


def _reporter(arguments: argparse.Namespace, rings: OwnRings) -> Reporter | None:
    if not arguments.tuner:
        return None
    settings = ReportingSettings(arguments.tuner.rstrip("/"), _agent(arguments), os.uname().nodename)
    reporter = Reporter(settings, rings)
    reporter.start()
    return reporter


def _write(path: Path | None, outcome: Outcome, unsent: list[dict[str, Any]]) -> None:
    if path is None:
        return
    temporary = path.with_name(path.name + ".new")
    try:
        temporary.write_text(json.dumps({**outcome.encode(), "unsent": unsent}))
        temporary.replace(path)
    except OSError as error:
        _say(f"cannot write how the run ended to {path}: {error.strerror}")


def _no_step(outcome: Outcome) -> list[str]:
    """Of rings without steps: why, where the job did not fail before its first one."""
    return [NO_STEP] if outcome.state == "finished" else []


def _summarize(outcome: Outcome, lines: list[str], rings: Sequence[OwnRing]) -> None:
    for line in lines:
        _say(line)
    if outcome.state != "finished":
        which = f"{rings[0].run_id} " if rings else ""  # before training there is no run yet
        _say(f"{which}{outcome.state} ({outcome.reason}): {outcome.detail}")


def _sweep(directory: Path) -> None:
    """Without an agent nobody else removes the rings of runs that ended long ago."""
    rings = RingDirectory(directory)
    rings.sweep(older_than_seconds=3600.0)
    rings.close()


def _say(text: str) -> None:
    # Nobody reads it, or it is closed, in Python None: the job's own status stands.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"paceline run: {text}\n")
