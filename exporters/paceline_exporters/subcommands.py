"""Subcommands register themselves in the entry-point group `paceline.commands`."""

from __future__ import annotations

import argparse
import importlib
import sys
from importlib.metadata import EntryPoint, entry_points, version

GROUP = "paceline.commands"

SUMMARIES = {
    "run": "watch a training command, and apply a proposal to it",
    "agent": "serve this node's metrics and report runs to the tuner",
    "top": "watch runs, ranks, GPUs and NICs of one or many nodes in a terminal",
    "explain": "say why a run's steps take as long as they do, and what to do about it",
    "doctor": "say what the agent cannot see on this machine, why, and what would fix it",
    "serve": "run the tuner service",
    "tune": "tune a job as a study file says",
    "submit": "launch one normal run with the best known configuration",
    "best": "print the best known configuration of a study",
    "demo": "tune a small real job on this machine and prove the gain",
}
EXTRAS = {"paceline_agent": "agent", "paceline_tuner": "tuner"}


def run(arguments: list[str]) -> int:
    """Run the one that the arguments name first; returns its exit status."""
    commands = {point.name: point for point in entry_points(group=GROUP)}
    if arguments and arguments[0] in commands:
        return _run(commands[arguments[0]], arguments[1:])
    return _overview(commands, arguments)


def _run(point: EntryPoint, arguments: list[str]) -> int:
    try:
        module = importlib.import_module(point.value)
        parser = argparse.ArgumentParser(
            prog=f"paceline {point.name}", description=module.__doc__, formatter_class=_Formatter
        )
        module.configure(parser)
        return int(module.run(parser.parse_args(arguments)))
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("paceline_"):
            raise
        extra = EXTRAS[point.value.partition(".")[0]]
        sys.stderr.write(
            f"paceline {point.name} needs the package {error.name}: run `pip install 'paceline[{extra}]'`\n"
        )
        return 2


def _overview(commands: dict[str, EntryPoint], arguments: list[str]) -> int:
    listing = "\n".join(f"  {name:8} {SUMMARIES.get(name, '')}" for name in sorted(commands, key=_order))
    parser = argparse.ArgumentParser(
        prog="paceline",
        description="See why a training step takes as long as it does, tune the next run, prove the gain.",
        epilog=f"commands:\n{listing}\n\n`paceline COMMAND --help` says more.",
        formatter_class=_Formatter,
    )
    parser.add_argument("--version", action="version", version=f"paceline {version('paceline')}")
    parser.add_argument("command", nargs="?", help="one of the commands below")
    chosen = parser.parse_args(arguments[:1]).command
    if chosen is not None:
        parser.error(f"no command {chosen!r}; the commands are {', '.join(sorted(commands, key=_order))}")
    parser.print_help()
    return 0


def _order(name: str) -> int:
    return list(SUMMARIES).index(name) if name in SUMMARIES else len(SUMMARIES)


class _Formatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    def _get_help_string(self, action: argparse.Action) -> str | None:
        """With the default, where the flag has one that says something."""
        return action.help if action.default in (None, "", []) else super()._get_help_string(action)
