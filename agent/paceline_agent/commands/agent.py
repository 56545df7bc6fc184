"""Serve this node's metrics and report runs to the tuner.

Listens on loopback unless told otherwise; needs no root, no GPU and no RDMA.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import re
import resource
import signal
import sys
from urllib.parse import quote

from paceline_exporters.metrics import FamilyError
from paceline_exporters.sources import discover
from paceline_exporters.sources.contract import World

from ..config_values import WebConfigError
from ..once import one_scrape
from ..service import Agent
from ..settings import Settings, SettingsError, duration
from ..spool import SpoolError
from ..tasks import TaskDied
from ..web import ListenError
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
        _raise_file_limit()
        sources = discover(settings.world)
        if args.once:
            sys.stdout.write(one_scrape(settings, sources))
            return 0
        return asyncio.run(_serve(Agent(settings, sources)))
    except (SettingsError, WebConfigError, SpoolError, ListenError, FamilyError, TaskDied) as error:
        sys.stderr.write(f"paceline agent: {error}\n")
        return 1


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


def _raise_file_limit() -> None:
    """Counters are read through descriptors that stay open: ten RoCE ports have about 560, 1024 is usual."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _serve(agent: Agent) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        url = await agent.startup()
        sys.stdout.write(f"paceline agent: listening on {url}\n")
        sys.stdout.flush()
        # What is alive now lives as long as the process: the collector need not look at it again.
        gc.freeze()
        await agent.serve(stop)
    finally:
        await agent.shutdown()
    return 0
