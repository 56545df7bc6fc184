"""Say what the agent can and cannot see on this machine, why, and the one thing that would fix each.

Takes the agent's flags but --once; run it as the agent's user, where the agent runs. Changes nothing. The exit
status is 0 where nothing is limited or broken, else 1.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from paceline_exporters.sources import discover
from paceline_exporters.sources.contract import World

from ..doctor.checkup import check_all
from ..doctor.gpu import settled
from ..doctor.place import here
from ..doctor.report import Report
from ..doctor.sampling import sample_all
from ..doctor.visit import Visit
from ..settings import SettingsError
from .flags import add_shared, settings

SAMPLING_SECONDS = 6.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_shared(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(args: argparse.Namespace) -> int:
    """The exit status: 0 where nothing is limited or broken, else 1."""
    logging.disable()  # sources log what they miss; here it is a finding
    place = here()
    world, complaints = _world(args)
    sampled = sample_all(discover(world), SAMPLING_SECONDS, partial(settled, world))
    visit = Visit(
        world, place, sampled, args.listen, args.web_config, args.tuner, args.spool, args.state, complaints
    )
    report = Report(args.node, str(place), check_all(visit))
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    sys.stdout.write(report.json() if args.json else report.text(colour))
    return report.status


def _world(args: argparse.Namespace) -> tuple[World, Sequence[str]]:
    """The agent's, but keeping nothing; and the flags with which it does not start."""
    try:
        return replace(settings(args).world, state=None), ()
    except SettingsError as error:
        return World(args.procfs, args.sysfs, args.rootfs, args.rings, args.node), error.args
