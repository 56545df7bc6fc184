"""The agent's process: its sources, its signals, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import resource
import signal
import sys

from paceline_exporters.metrics import FamilyError
from paceline_exporters.sources import discover

from .config_values import WebConfigError
from .once import one_scrape
from .service import Agent
from .settings import Settings
from .spool import SpoolError
from .tasks import TaskDied
from .web import ListenError


def run(settings: Settings, once: bool) -> int:
    """Serve until SIGTERM or SIGINT, or print one scrape; the exit status is 1 when the agent cannot run."""
    try:
        _raise_file_limit()
        sources = discover(settings.world)
        if once:
            sys.stdout.write(one_scrape(settings, sources))
            return 0
        return asyncio.run(_serve(Agent(settings, sources)))
    except (WebConfigError, SpoolError, ListenError, FamilyError, TaskDied) as error:
        sys.stderr.write(f"paceline agent: {error}\n")
        return 1


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
        _settle_collector()
        await agent.serve(stop)
    finally:
        await agent.shutdown()
    return 0


def _settle_collector() -> None:
    """What is alive now lives as long as the process: the garbage collector need not look at it again."""
    gc.collect()
    gc.freeze()
    # A full collection waits until there is a quarter more than the one before left alive. With what is frozen
    # now that takes hours, and rings, ports and connections that went would stay in memory for as long.
    gc.collect()
