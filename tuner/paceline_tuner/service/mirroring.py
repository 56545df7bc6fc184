"""Tells Optuna's tables of each finished trial, after our own commit; failing there loses nothing of ours."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from paceline_tuner.sampling.warm import default_params

from .database import Database
from .tables import trials
from .work import Work, baseline_of, spec_of

if TYPE_CHECKING:
    from paceline_tuner.sampling.mirror import Mirror

logger = logging.getLogger(__name__)

IDLE_SECONDS, FAULT_SECONDS = 60.0, 10.0


class Mirroring:
    """Copies one trial at a time, so that an ask never waits for more than one."""

    def __init__(self, database: Database, transact: Callable[..., Awaitable[Any]]) -> None:
        self._database = database
        self._transact = transact
        self._news = asyncio.Event()
        self._mirror: Mirror | None = None

    def wake(self) -> None:
        """A trial may have finished."""
        self._news.set()

    async def run(self) -> None:
        """Copy what is not copied yet, for as long as the service lives."""
        while True:
            self._news.clear()
            try:
                while await self._one():
                    pass
                seconds = IDLE_SECONDS
            except Exception:  # Optuna's tables are a copy: whatever goes wrong there waits, and is tried again
                logger.warning("Optuna's copy of a trial failed; it is tried again", exc_info=True)
                if self._mirror is not None:
                    self._mirror.forget()
                seconds = FAULT_SECONDS
            await _either(self._news, seconds)

    async def close(self) -> None:
        """Let go of Optuna's connections."""
        if self._mirror is not None:
            await self._database.call(self._mirror.close)

    async def _one(self) -> bool:
        found = await self._transact(next_trial)
        if found is None:
            return False
        if self._mirror is None:
            # Importing Optuna takes a second: not on the event loop, and not on the database's thread.
            module = await asyncio.to_thread(importlib.import_module, "paceline_tuner.sampling.mirror")
            self._mirror = module.Mirror(self._database.url)
        mirror, (key, spec, trial) = self._mirror, found
        await self._database.call(lambda: mirror.add(spec, *trial))
        await self._transact(mark, key)
        return True


async def _either(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return


def next_trial(work: Work) -> tuple[int, Any, tuple[Any, ...]] | None:
    """A finished trial that Optuna does not have: our key, its spec, (number, params, state, value)."""
    query = select(trials).where(trials.c.mirrored.is_(False), trials.c.state != "open").limit(1)
    trial = work.connection.execute(query).one_or_none()
    if trial is None:
        return None
    study = work.study_by_id(trial.study_id)
    spec, baseline, params = spec_of(study), baseline_of(study), trial.params
    if trial.number == 0 and baseline is not None:
        params = default_params(spec, baseline) or {}
    return trial.id, spec, (trial.number, params, trial.state, trial.value)


def mark(work: Work, key: int) -> None:
    """Optuna has this trial."""
    work.connection.execute(update(trials).where(trials.c.id == key).values(mirrored=True))
