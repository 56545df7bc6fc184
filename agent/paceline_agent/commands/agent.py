"""Serve this node's metrics and report runs to the tuner.

Listens on loopback unless told otherwise; needs no root, no GPU and no RDMA.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import signal
import sys
from pathlib import Path
from urllib.parse import quote

from paceline_exporters.metrics import FamilyError
from paceline_exporters.rings import default_directory
from paceline_exporters.sources import discover
from paceline_exporters.sources.contract import World

from ..once import one_scrape
from ..service import Agent
from ..settings import DEFAULT_ADDRESS, Settings, SettingsError, duration, state_home
from ..spool import SpoolError
from ..tasks import TaskDied
from ..web import ListenError

COMPAT = ("node_exporter",)
LEVELS = ("debug", "info", "warning", "error")
DEFAULTS = World()


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags, named as Prometheus exporters name theirs."""
    add = parser.add_argument
    add(
        "--web.listen-address",
        dest="listen",
        default=DEFAULT_ADDRESS,
        help="host:port to listen on; port 0 takes a free one",
    )
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
    add("--tuner.url", dest="tuner", default=None, help="tuner to report runs to; none: nothing is reported")
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
    add(
        "--compat",
        action="append",
        choices=COMPAT,
        default=[],
        help="serve this exporter's metric names as well",
    )
    add("--node", default=DEFAULTS.node, help="this node's name")
    add("--log.level", dest="level", choices=LEVELS, default="info", help="least severe messages to log")
    add("--once", action="store_true", help="print one scrape and end")


def run(args: argparse.Namespace) -> int:
    """The exit status: 0 after a stop that was asked for, 1 when the agent cannot run."""
    logging.basicConfig(level=args.level.upper(), format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        settings = _settings(args)
        sources = discover(settings.world)
        if args.once:
            sys.stdout.write(one_scrape(settings, sources))
            return 0
        return asyncio.run(_serve(Agent(settings, sources)))
    except (SettingsError, SpoolError, ListenError, FamilyError, TaskDied) as error:
        sys.stderr.write(f"paceline agent: {error}\n")
        return 1


def _settings(args: argparse.Namespace) -> Settings:
    try:
        retention = duration(args.retention)
    except ValueError as error:
        raise SettingsError(f"--rings.retention: {error}") from error
    return Settings(
        listen_address=args.listen,
        world=World(
            *(args.procfs, args.sysfs, args.rootfs, args.rings, args.node),
            state=args.state / quote(args.node, safe=""),
            compat=frozenset(args.compat),
        ),
        ring_retention_seconds=retention,
        tuner_url=args.tuner,
        spool_directory=args.spool,
    )


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
