"""Print the best configuration that a study knows, in the forms a job takes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..client import TunerAway, TunerRefused
from ..export import as_arguments_json, as_flags, as_shell_exports
from ..study.compose import Configuration
from ..submit.find import study_directory, that_knows
from ..submit.verdict import ratio_words
from ..submit.words import unwritable


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags of `paceline best`."""
    parser.add_argument("study", help="name of the study")
    parser.add_argument("--format", choices=("all", *FORMS), default="all", help="one form only, for scripts")
    parser.add_argument("--tuner", metavar="URL", help="tuner service that has the study")
    parser.add_argument("--directory", type=Path, help="the study's directory; default paceline/STUDY")


def run(arguments: argparse.Namespace) -> int:
    """Print; returns 0, or 1 when there is nothing to print."""
    directory = study_directory(arguments.directory, arguments.study)
    try:
        with that_knows(arguments.tuner, directory) as tuner:
            answer = tuner.best(arguments.study)
    except (TunerAway, TunerRefused) as error:
        sys.stderr.write(f"paceline best: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"paceline best: {unwritable(error, directory)}\n")
        return 1
    sys.stdout.write(
        _all(answer) if arguments.format == "all" else FORMS[arguments.format](_configuration(answer))
    )
    return 0


def _configuration(answer: Mapping[str, Any]) -> Configuration:
    names = ("arguments", "ddp", "env", "placeholders", "values")
    return Configuration(**{name: answer[name] for name in names})


def _flags(configuration: Configuration) -> str:
    return " ".join(as_flags(configuration).words) + "\n"


def _arguments(configuration: Configuration) -> str:
    return as_arguments_json(configuration) + "\n"


def _exports(configuration: Configuration) -> str:
    text = as_shell_exports(configuration)
    return text if text.endswith("\n") or not text else text + "\n"


FORMS: Mapping[str, Callable[[Configuration], str]] = {
    "arguments": _arguments,
    "exports": _exports,
    "flags": _flags,
}


def _all(answer: Mapping[str, Any]) -> str:
    configuration = _configuration(answer)
    proof = answer.get("proof") or {}
    said = ratio_words(proof) if proof.get("ratio") else proof.get("reason", "not proved yet")
    lines = [
        f"# study {answer['study']}, trial {answer['trial']}: {said}",
        f"# verdict: {proof.get('verdict', 'none yet')}",
        "# TrainingArguments as JSON",
        _arguments(configuration).rstrip(),
        "# environment",
        _exports(configuration).rstrip() or "# (nothing)",
        "# command-line flags of a script that uses HfArgumentParser",
        _flags(configuration).rstrip() or "# (nothing)",
        *(f"# note: {note}" for note in as_flags(configuration).notes),
        f"# or all of it at once: paceline submit --study {answer['study']} -- COMMAND",
    ]
    return "\n".join(lines) + "\n"
