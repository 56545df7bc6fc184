"""The flags that `paceline agent` and `paceline doctor` share: what doctor says holds for the agent."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from paceline_exporters.rings import default_directory
from paceline_exporters.sources.contract import World

from ..settings import DEFAULT_ADDRESS, Settings, SettingsError, duration, state_home

DEFAULTS = World()
COMPAT = ("node_exporter",)
LEVELS = ("debug", "info", "warning", "error")
T = TypeVar("T")


def add_shared(parser: argparse.ArgumentParser) -> None:
    """Add them, named as Prometheus exporters name theirs."""
    _add_web(parser)
    _add_places(parser)
    _add_metrics(parser)
    parser.add_argument("--node", default=DEFAULTS.node, help="this node's name")
    parser.add_argument(
        "--log.level",
        dest="level",
        choices=LEVELS,
        default="info",
        help="least severe messages that the agent logs",
    )


def _add_web(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--web.listen-address",
        dest="listen",
        default=DEFAULT_ADDRESS,
        help="host:port to listen on; port 0 takes a free one",
    )
    add(
        "--web.config.file",
        dest="web_config",
        type=Path,
        default=None,
        help="TLS and authentication, in the format of Prometheus' exporters",
    )
    add("--tuner.url", dest="tuner", default=None, help="tuner to report runs to; none: nothing is reported")


def _add_places(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--path.sysfs", dest="sysfs", type=Path, default=DEFAULTS.sysfs, help="where sysfs is mounted")
    add("--path.procfs", dest="procfs", type=Path, default=DEFAULTS.procfs, help="where procfs is mounted")
    add(
        "--path.rootfs",
        dest="rootfs",
        type=Path,
        default=DEFAULTS.rootfs,
        help="where the host's root is mounted",
    )
    add(
        "--rings.directory",
        dest="rings",
        type=Path,
        default=default_directory(),
        help="where ranks write their rings",
    )
    add(
        "--rings.retention", dest="retention", default="1h", help="remove rings that nobody holds after this time"
    )
    add(
        "--spool.directory",
        dest="spool",
        type=Path,
        default=state_home() / "spool",
        help="where reports wait while the tuner is away",
    )
    add(
        "--state.directory",
        dest="state",
        type=Path,
        default=state_home() / "state",
        help="where counters that outlive the agent are kept, by node",
    )


def _add_metrics(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--compat",
        action="append",
        choices=COMPAT,
        default=[],
        help="serve this exporter's metric names as well",
    )
    add(
        "--limits.series",
        dest="series",
        type=int,
        default=Settings.series_per_source,
        help="most series of one source; what comes last is dropped and counted",
    )
    add(
        "--ethtool.include",
        dest="ethtool",
        default=None,
        help="serve ethtool statistics that have no name of ours too, where this expression is found in theirs",
    )
    add(
        "--peak.flops",
        dest="peak",
        type=float,
        default=None,
        help="peak FLOP/s of one GPU, for MFU; default: as the table of devices has it for the job's dtype",
    )


def settings(args: argparse.Namespace) -> Settings:
    """The agent's settings. Raises SettingsError, which tells all that is wrong."""
    complaints: list[str] = []

    def read(flag: str, parse: Callable[[str], T], text: str) -> T | None:
        try:
            return parse(text)
        except ValueError as error:
            complaints.append(f"{flag}: {error}")
            return None

    retention = read("--rings.retention", duration, args.retention)
    include = None if args.ethtool is None else read("--ethtool.include", _expression, args.ethtool)
    try:
        found = Settings(
            listen_address=args.listen,
            web_config_file=args.web_config,
            world=World(
                *(args.procfs, args.sysfs, args.rootfs, args.rings, args.node),
                state=args.state / quote(args.node, safe=""),
                compat=frozenset(args.compat),
                ethtool_include=include,
                peak_flops=args.peak,
            ),
            ring_retention_seconds=retention or 0.0,
            tuner_url=args.tuner,
            spool_directory=args.spool,
            series_per_source=args.series,
        )
    except SettingsError as error:
        raise SettingsError(*complaints, *error.args) from error
    if complaints:
        raise SettingsError(*complaints)
    return found


def _expression(text: str) -> re.Pattern[str]:
    """Raises ValueError."""
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from error
