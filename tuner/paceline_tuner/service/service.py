"""The tuner, without its HTTP: startup, work, shutdown."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, select, update

from paceline_tuner.sampling.client import Sampler

from . import asks, preparing, progress, runs
from .asks import Answer, Ask
from .census import Census, Closings
from .census import take as take_census
from .database import Database
from .metrics import Metrics
from .mirroring import Mirroring
from .preparing import Preparer
from .settings import Settings
from .tables import runs as runs_table
from .tables import studies
from .tasks import Tasks
from .work import Work

P = ParamSpec("P")
T = TypeVar("T")

SAMPLING_WAIT_SECONDS = 0.5
CENSUS_SECONDS = 1.0
"""How long a count of the database serves: several scrapers cost no more than one."""


class Service:
    """One tuner: its database, its sampler, its tasks."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(settings.database)
        self.sampler = Sampler()
        self.metrics = Metrics()
        self.tasks = Tasks()
        self._preparer = Preparer(self.sampler, self.transact)
        self._mirroring = Mirroring(self.database, self.transact)
        self._started = time.time()
        self._closings = Closings()
        self._census: tuple[float, Census] | None = None

    async def startup(self) -> None:
        """Open the database and go on where the last tuner ended; raises StartError."""
        await self.database.open()
        self._started = time.time()
        await self.transact(forgive_absence)
        for study in await self.transact(preparing.searching):
            self._preparer.invalidate(study)
        self.tasks.start("sampler", self.sampler.start())
        self.tasks.start("prepare", self._preparer.run())
        self.tasks.start("mirror", self._mirroring.run())
        self.tasks.every("sweep", self.settings.sweep_seconds, self._sweep)

    async def shutdown(self) -> None:
        """Stop all work; what was acknowledged is in the database already."""
        await self.tasks.stop()
        await self.sampler.stop()
        await self._mirroring.close()
        await self.database.close()

    async def transact(self, function: Callable[Concatenate[Work, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`function(work, ...)` in one transaction; the sampler hears of what changed once it is committed."""
        changed: set[str] = set()

        def unit(connection: Connection) -> T:
            work = Work(connection, time.time(), self.settings, self._started, changed)
            return function(work, *args, **kwargs)

        result = await self.database.transact(unit)
        for study in changed:
            self._preparer.invalidate(study)
        if changed:
            self._mirroring.wake()
        return result

    async def ask(self, study: str, asked: Ask) -> Answer:
        """What to run next, after a bounded wait for a fresh configuration."""
        begin = time.perf_counter()
        kind = "error"
        try:
            answer = await self._ask(study, asked)
            kind = next((name for name in ("proposal", "open", "done") if name in answer), "wait")
            return answer
        finally:
            self.metrics.asked(kind, time.perf_counter() - begin)

    async def _ask(self, study: str, asked: Ask) -> Answer:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self.settings.ask_seconds
        while True:
            version, sample = self._preparer.version(study), self._preparer.take(study)
            found = await self.transact(asks.ask, study, asked, sample)
            if sample is not None and not found.used:
                self._preparer.put_back(study, sample, version)
            if found.answer is not None:
                return found.answer
            if not await self._preparer.wait(study, deadline - clock()):
                reason = f"the sampler has found no next configuration within {self.settings.ask_seconds:g} s"
                return {"wait_seconds": SAMPLING_WAIT_SECONDS, "reason": reason}

    async def census(self) -> Census:
        """What the database holds, at most a second ago."""
        now = time.monotonic()
        if self._census is None or now - self._census[0] >= CENSUS_SECONDS:
            self._census = now, await self.transact(take_census, self._closings)
        return self._census[1]

    async def importance(self, study: str) -> dict[str, Any]:
        """Knob -> share of the objective's variation that it explains."""
        history = await self.transact(preparing.read_history, study)
        found = await self.sampler.importance(study, history)
        reason = "" if found else "fewer than two trials with different values have finished"
        return {"importance": found, "reason": reason}

    async def _sweep(self) -> None:
        if await self.transact(due):
            await self.transact(runs.expire)
            await self.transact(advance_all)


def forgive_absence(work: Work) -> None:
    """Nobody could renew a lease while the service was away."""
    for state, seconds in (("running", work.settings.running_seconds), ("ending", work.settings.ending_seconds)):
        lease = work.now + seconds
        short = (runs_table.c.state == state) & (runs_table.c.lease_at < lease)
        work.connection.execute(update(runs_table).where(short).values(lease_at=lease))


def due(work: Work) -> bool:
    """Whether a lease or a study's time may have run out."""
    leases = select(runs_table.c.run_id).where(
        runs_table.c.state.in_(("proposed", "running", "ending")), runs_table.c.lease_at <= work.now
    )
    if work.connection.execute(leases.limit(1)).first() is not None:
        return True
    alive = work.connection.execute(select(studies).where(studies.c.state == "search"))
    return any(progress.out_of_time(work, study) for study in alive)


def advance_all(work: Work) -> None:
    """Let each study draw its conclusions."""
    for study in work.connection.execute(select(studies).where(studies.c.state.in_(("search", "proof")))).all():
        progress.advance(work, study)
