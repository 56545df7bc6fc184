"""Launch one normal run of a job with the best configuration that a study has proved.

The run is the user's own: checkpoints, trackers and budget as the job has them.
Example: paceline submit --study gpt2 -- torchrun --nproc-per-node 8 train.py --output_dir out
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..client import TunerAway, TunerRefused
from ..submit.find import study_directory, that_knows
from ..submit.words import configuration, unwritable


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags of `paceline submit`."""
    parser.add_argument("--study", required=True, help="name of the study")
    parser.add_argument("--even-unproven", action="store_true", help="take the best so far, proved or not")
    parser.add_argument("--tuner", metavar="URL", help="tuner service that has the study")
    parser.add_argument("--directory", type=Path, help="the study's directory; default paceline/STUDY")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and the command to run")


def run(arguments: argparse.Namespace) -> int:
    """Become `paceline run` with the proposal; returns only when that cannot be."""
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        sys.stderr.write("paceline submit: no command: put it after --\n")
        return 2
    directory = study_directory(arguments.directory, arguments.study)
    try:
        with that_knows(arguments.tuner, directory) as tuner:
            answer = tuner.normal_proposal(arguments.study, arguments.even_unproven)
    except (TunerAway, TunerRefused) as error:
        sys.stderr.write(f"paceline submit: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"paceline submit: {unwritable(error, directory)}\n")
        return 1
    sys.stderr.write(f"paceline submit: {configuration(answer['proposal'])} ({answer['reason']})\n")
    sys.stderr.flush()
    return _become_run(answer["proposal"], command)


def _become_run(proposal: Mapping[str, Any], command: list[str]) -> int:
    words = [
        sys.executable,
        "-m",
        "paceline_exporters",
        "run",
        "--proposal",
        json.dumps(proposal),
        "--",
        *command,
    ]
    os.execv(sys.executable, words)
