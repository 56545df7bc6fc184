"""Serve this node's metrics and report runs to the tuner.

Listens on loopback unless told otherwise; needs no root, no GPU and no RDMA.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
from urllib.parse import quote

from paceline_exporters.sources.contract import World

from ..settings import Settings, SettingsError, duration
from ..without_openssl import leave_out_openssl
from .flags import add_shared

COMPAT = ("node_exporter",)
LEVELS = ("debug", "info", "warning", "error")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_shared(parser)
    add = parser.add_argument
    add(
        "--rings.retention", dest="retention", default="1h", help="remove rings that nobody holds after this time"
    )
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
    add("--log.level", dest="level", choices=LEVELS, default="info", help="least severe messages to log")
    add("--once", action="store_true", help="print one scrape and end")


def run(args: argparse.Namespace) -> int:
    """The exit status: 0 after a stop that was asked for, 1 when the agent cannot run."""
    logging.basicConfig(level=args.level.upper(), format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        settings = _settings(args)
    except SettingsError as error:
        sys.stderr.write(f"paceline agent: {error}\n")
        return 1
    if not settings.needs_tls:
        leave_out_openssl()
    from .. import serving  # after what is left out

    return serving.run(settings, once=args.once)


def _settings(args: argparse.Namespace) -> Settings:
    try:
        retention = duration(args.retention)
    except ValueError as error:
        raise SettingsError(f"--rings.retention: {error}") from error
    try:
        include = None if args.ethtool is None else re.compile(args.ethtool)
    except re.error as error:
        raise SettingsError(f"--ethtool.include: {args.ethtool!r} is no regular expression: {error}") from error
    if args.peak is not None and args.peak <= 0:
        raise SettingsError(f"--peak.flops: expected FLOP/s above 0, got {args.peak:g}")
    return Settings(
        listen_address=args.listen,
        web_config_file=args.web_config,
        world=World(
            *(args.procfs, args.sysfs, args.rootfs, args.rings, args.node),
            state=args.state / quote(args.node, safe=""),
            compat=frozenset(args.compat),
            ethtool_include=include,
            peak_flops=args.peak,
        ),
        ring_retention_seconds=retention,
        tuner_url=args.tuner,
        spool_directory=args.spool,
        series_per_source=args.series,
    )
