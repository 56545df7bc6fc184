"""The agent's life in three verbs: startup, serve, shutdown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from paceline_exporters.metrics import check_owners
from paceline_exporters.sources.contract import Source

from .access import Access
from .diagnosis.capture import Capture
from .diagnosis.evidence import NodeEvidence
from .diagnosis.pages import RunPages
from .diagnosis.runs import Runs
from .diagnosis.source import DiagnosisSource
from .itself import Itself
from .reporter import Reporter
from .ringlist import RingList
from .sampler import Sampler
from .settings import Settings, is_loopback, split_address
from .spool import Spool, spool_directory
from .tasks import Tasks
from .web import Exposition, Web

log = logging.getLogger(__name__)

LAST_REPORT_SECONDS = 3.0
"""At shutdown one more report is tried for so long: a pod's rings go with the pod."""


class Agent:
    """One agent: sources in threads, everything else in one event loop."""

    def __init__(self, settings: Settings, sources: Sequence[Source]) -> None:
        """Raises FamilyError when two sources claim one family."""
        self._settings = settings
        budget = settings.series_per_source
        samplers = [Sampler(source, budget, turn=turn) for turn, source in enumerate(sources)]
        state = settings.world.state
        self._capture = None if state is None else Capture(state / "hangs", settings.world.procfs)
        self._runs = Runs(
            settings.world.followers,
            NodeEvidence(samplers).of,
            self._capture or _nothing,
            patience_seconds=DiagnosisSource.period_seconds,
        )
        self._samplers = [*samplers, Sampler(DiagnosisSource(self._runs), budget, turn=len(sources))]
        owned = [(sampler.source.name, sampler.source.families) for sampler in self._samplers]
        check_owners([(Itself.name, Itself.families), *owned])
        self._reporter: Reporter | None = None
        self._web: Web | None = None
        self._serving = False

    async def startup(self) -> str:
        """Begin to sample, listen and report; returns the URL. Raises SpoolError, WebConfigError, ListenError."""
        settings = self._settings
        # What blocks is short and rare; more threads would only cost memory.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2, "agent"))
        self._tasks = Tasks()
        self._rings = RingList(settings.world.rings)
        self._reporter = _reporter(settings, self._runs)
        access = Access(settings.web_config_file)
        itself = Itself(settings.world.node, self._samplers, self._rings, self._reporter, access)
        shown = Exposition(itself, self._samplers)
        self._web = Web(settings, shown, access, RunPages(self._runs, self._capture, settings.world.node))
        url = await self._web.start()
        host, _ = split_address(settings.listen_address)
        if not is_loopback(host) and not access.authenticated:
            log.warning("listening on %s without authentication: anyone who reaches it can read it", url)
        for sampler in self._samplers:
            sampler.start()
        self._tasks.start("web-watch", self._web.watch())
        if settings.web_config_file is not None:
            self._tasks.start("web-config", access.follow())
        self._tasks.start("ring-sweep", self._rings.sweep(settings.ring_retention_seconds))
        if self._reporter is not None:
            self._tasks.start("reporter", self._reporter.run(settings.report_seconds))
        self._serving = True
        return url

    async def serve(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. Raises TaskDied."""
        waiting = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(self._tasks.died())]
        done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for future in pending:
            future.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        if waiting[1] in done:
            raise await self._tasks.died()

    async def shutdown(self) -> None:
        """Stop in the opposite order, with one last report; safe after a startup that failed."""
        await self._tasks.stop()
        if self._web is not None:
            await self._web.stop()
        if self._reporter is not None:
            if self._serving:
                await _last_report(self._reporter)
            await self._reporter.close()
            self._reporter.spool.close()
        self._rings.close()
        for sampler in self._samplers:
            sampler.stop()


def _nothing(*_: object) -> None:
    """There is no directory to keep stacks in."""


def _reporter(settings: Settings, runs: Runs) -> Reporter | None:
    if settings.tuner_url is None:
        return None
    directory = spool_directory(settings.spool_directory, settings.world.node, settings.tuner_url)
    spool = Spool(directory, settings.spool_bytes)
    world = settings.world
    return Reporter(settings.tuner_url, world.node, world.rings, spool, evidence_of=runs.evidence)


async def _last_report(reporter: Reporter) -> None:
    try:
        async with asyncio.timeout(LAST_REPORT_SECONDS):
            await reporter.tick()
    except (TimeoutError, OSError) as error:
        log.warning("the last report was not made: %s", error or "no time left")
