"""One configuration ahead for each study, thrown away as soon as the sampler could know better."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import insert, select

from paceline_tuner.sampling.client import History, Sampler, SamplerError
from paceline_tuner.sampling.warm import default_params
from paceline_tuner.study.codec import spec_to_json
from paceline_tuner.study.compose import compose, restrict
from paceline_tuner.study.errors import StudyError

from .asks import Sample, needs_baseline
from .errors import ServiceError
from .progress import count_trials, fail
from .tables import events, studies, trials
from .work import Work, baseline_of, spec_of

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
MISFITS = 5
"""Suggestions in a row that make no configuration, after which the study is at fault."""

Transact = Callable[..., Awaitable[object]]


@dataclass
class _Shelf:
    """One study's place."""

    version: int = 0
    """Grows with everything the sampler should hear of."""
    ready: Sample | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when something came onto the shelf, and renewed each time."""


class Preparer:
    """Keeps one sample ready for each study that is searching."""

    def __init__(self, sampler: Sampler, transact: Transact) -> None:
        self._sampler = sampler
        self._transact = transact
        self._shelves: dict[str, _Shelf] = {}
        self._stale: dict[str, None] = {}
        self._wake = asyncio.Event()

    def invalidate(self, study: str) -> None:
        """There is news of the study: prepare anew."""
        shelf = self._shelves.setdefault(study, _Shelf())
        shelf.version += 1
        shelf.ready = None
        self._stale[study] = None
        self._wake.set()

    def take(self, study: str) -> Sample | None:
        """What is ready, which then is the caller's alone."""
        shelf = self._shelves.setdefault(study, _Shelf())
        sample, shelf.ready = shelf.ready, None
        return sample

    def put_back(self, study: str, sample: Sample, version: int) -> None:
        """The sample was not needed after all; kept if it is still fresh."""
        shelf = self._shelves[study]
        if shelf.version == version and shelf.ready is None:
            self._offer(shelf, sample)

    def version(self, study: str) -> int:
        """What the study's news have come to."""
        return self._shelves.setdefault(study, _Shelf()).version

    async def wait(self, study: str, seconds: float) -> bool:
        """Wait until something may be ready; False after `seconds`."""
        shelf = self._shelves.setdefault(study, _Shelf())
        if shelf.ready is None and study not in self._stale:
            self.invalidate(study)
        if shelf.ready is not None:
            return True
        try:
            await asyncio.wait_for(shelf.news.wait(), max(0.0, seconds))
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Prepare whatever is stale, for as long as the service lives."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._stale:
                study = next(iter(self._stale))
                version = self.version(study)
                try:
                    await self._prepare(study, version)
                except (ServiceError, SamplerError) as error:
                    logger.warning("cannot prepare a configuration for %s: %s", study, error)
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                if self.version(study) == version:
                    self._stale.pop(study, None)

    async def _prepare(self, study: str, version: int) -> None:
        for _ in range(MISFITS):
            history = await self._transact(history_of, study)
            if not isinstance(history, History):
                return
            params, note = await self._suggest(study, history)
            if self.version(study) != version:
                return
            problem = await self._transact(check, study, params, note)
            if not problem:
                self._offer(self._shelves[study], Sample(params))
                return
        await self._transact(give_up, study, str(problem))

    async def _suggest(self, study: str, history: History) -> tuple[dict[str, Any], str]:
        try:
            return await self._sampler.suggest(study, history)
        except SamplerError as error:
            await self._transact(note_once, study, f"the sampler {history.spec['sampler']} failed: {error}")
            raise

    def _offer(self, shelf: _Shelf, sample: Sample) -> None:
        shelf.ready = sample
        shelf.news.set()
        shelf.news = asyncio.Event()


def searching(work: Work) -> list[str]:
    """Studies that want configurations."""
    return list(work.connection.execute(select(studies.c.name).where(studies.c.state == "search")).scalars())


def history_of(work: Work, name: str) -> History | None:
    """What the sampler should know, or None when no further configuration will be asked for."""
    study = work.study(name)
    spec = spec_of(study)
    total = count_trials(work, study)
    if study.state != "search" or not 0 < total < spec.budget.trials:
        return None
    if needs_baseline(spec) and study.baseline is None:
        return None
    return read_history(work, name)


def read_history(work: Work, name: str) -> History:
    """All trials of a study as its sampler sees them: the default with the values it has by itself."""
    study = work.study(name)
    spec, baseline = spec_of(study), baseline_of(study)
    if baseline is not None:
        spec = restrict(spec, baseline)
    own = default_params(spec, baseline) if baseline is not None else None
    query = select(trials.c.number, trials.c.params, trials.c.state, trials.c.value)
    rows = work.connection.execute(
        query.where(trials.c.study_id == study.id).order_by(trials.c.closed_at, trials.c.number)
    )
    finished: list[tuple[int, Mapping[str, Any], str, float | None]] = []
    running: dict[int, Mapping[str, Any]] = {}
    for row in rows:
        params = own if row.number == 0 else row.params
        if params is None:
            continue
        if row.state == "open":
            running[row.number] = params
        else:
            finished.append((row.number, params, row.state, row.value))
    return History(spec_to_json(spec), finished, running)


def check(work: Work, name: str, params: dict[str, object], note: str) -> str:
    """Why `params` make no configuration, or nothing; a new note of the sampler goes into the study's log."""
    study = work.study(name)
    if note:
        note_once(work, name, note)
    try:
        compose(spec_of(study), params, baseline_of(study))
    except StudyError as error:
        return str(error)
    return ""


def note_once(work: Work, name: str, note: str) -> None:
    """Say something of the sampler in the study's log, unless it was said already."""
    study = work.study(name)
    query = select(events.c.id).where(
        events.c.study_id == study.id, events.c.kind == "sampler", events.c.text == note
    )
    if work.connection.execute(query.limit(1)).first() is None:
        work.connection.execute(
            insert(events).values(study_id=study.id, kind="sampler", at=work.now, text=note, detail={})
        )


def give_up(work: Work, name: str, problem: str) -> None:
    """End a study whose space holds no usable configuration."""
    fail(work, work.study(name), f"{MISFITS} suggestions in a row make no configuration: {problem}")
