"""Tune a job as a study file says: try configurations, then prove the best against the job's own default.

Interrupt it at any time and start it again with the same command: it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from rich.console import Console

from ..client import TunerAway, TunerClient, TunerRefused
from ..study.codec import spec_to_json
from ..study.errors import StudyError
from ..study.file import load_study
from ..study.spec import StudySpec
from ..submit.find import own_or_given, study_directory
from ..submit.local import LocalLauncher
from ..submit.lock import InUse, alone_in
from ..submit.loop import SubmitLoop, client_id
from ..submit.private import PrivateTuner
from ..submit.progress import Progress
from ..submit.verdict import verdict_lines
from ..submit.words import unwritable


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags of `paceline tune`."""
    parser.add_argument("study", type=Path, help="study file (YAML)")
    parser.add_argument("--tuner", metavar="URL", help="tuner service; without it one is started for this study")
    parser.add_argument(
        "--agent", metavar="URL", default="http://127.0.0.1:19470", help="this node's agent, if any"
    )
    parser.add_argument("--directory", type=Path, help="runs, logs and state go here; default paceline/STUDY")


def run(arguments: argparse.Namespace) -> int:
    """Tune; returns 0 when the study is done, 1 when it failed or cannot go on, 2 for a study file that is wrong,
    130 when interrupted."""
    console = Console(stderr=True, highlight=False)
    try:
        return _run(arguments, console)
    except StudyError as error:
        status, reason = 2, str(error)
    except (InUse, TunerAway, TunerRefused) as error:
        status, reason = 1, str(error)
    except KeyboardInterrupt:
        status, reason = 130, "interrupted; the same command goes on from here"
    console.print(f"paceline tune: {reason}", markup=False, soft_wrap=True)
    return status


def _run(arguments: argparse.Namespace, console: Console) -> int:
    spec = load_study(arguments.study)
    root = study_directory(arguments.directory, spec.name)
    try:
        with alone_in(root), own_or_given(arguments.tuner, root) as (client, private):
            return tune(spec, client, private, root, arguments.agent, console)
    except OSError as error:
        console.print(f"paceline tune: {unwritable(error, root)}", markup=False, soft_wrap=True)
        return 1


def tune(
    spec: StudySpec, client: TunerClient, private: PrivateTuner | None, root: Path, agent: str, console: Console
) -> int:
    """Run the study to its end with the tuner behind `client`; returns the exit status."""
    client.create_study(spec_to_json(spec))
    launcher = LocalLauncher(root, spec.command, client, agent, spec.env or {})
    loop = SubmitLoop(spec.name, client, launcher, client_id(root), spec.budget.parallel, console.print)
    progress = Progress(client, spec.name, loop.running, console)
    loop.say = progress.say

    def tick() -> None:
        progress.tick()
        if private is not None:
            private.keep()

    loop.tick = tick
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with progress:
            reason = loop.run()
    except KeyboardInterrupt:
        console.print("interrupted: ending what runs; the same command goes on from here")
        loop.abandon()
        return 130
    finally:
        signal.signal(signal.SIGTERM, previous)
    view = client.study(spec.name)
    (root / "study.json").write_text(json.dumps(view, indent=1))
    for line in verdict_lines(view, reason, launcher.runs):
        sys.stdout.write(line + "\n")
    return 0 if view["state"] == "done" else 1
