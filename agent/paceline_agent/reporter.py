"""What is new in this node's rings goes to the tuner, in order; while the tuner is away it goes to the spool.

The ring itself is the first buffer: the spool is written only when a ring's records could be overwritten or the
ring could be removed. Spooled reports go first, so that the tuner's high-water marks never pass over them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from paceline_exporters.messages import Acknowledgement, MessageError, Report, RingMark, RingReport
from paceline_exporters.rings import RingDirectory, RingReader

from .reports import ring_report, with_evidence
from .spool import Spool

log = logging.getLogger(__name__)

RESULTS = ("accepted", "replayed", "rejected", "failed", "spooled", "spool_failed")


Wanted = Callable[[str, RingReader], bool]
EvidenceOf = Callable[[str, int], Mapping[str, float]]
"""What the node saw lately of a rank of a run."""


class TunerAway(Exception):
    """The tuner does not answer as it should now; try again later."""


class ReportRefused(Exception):
    """The tuner says that the report is wrong; do not send it again."""


@dataclass(frozen=True)
class Pace:
    """How the reporter goes about it."""

    records_per_ring: int = 512
    """Most records of one ring in one report."""
    records_per_report: int = 2048
    """Keeps a report below 1 MiB."""
    spool_after_records: int = 512
    """Records of a ring that wait for the tuner before they are spooled; a ring holds 4096."""
    rounds: int = 10
    """Most reports of one ring at a time."""
    post_seconds: float = 10.0
    """A report that is not answered by then has failed."""
    backoff_seconds: tuple[float, float] = (1.0, 60.0)
    """Shortest and longest wait after a failure."""
    unknown_seconds: float = 300.0
    """A run that the tuner does not know, or refuses, is left alone for so long."""


class Reporter:
    """Reports one ring directory to one tuner."""

    def __init__(
        self,
        url: str,
        node: str,
        rings: Path,
        spool: Spool,
        pace: Pace = Pace(),
        clock: Callable[[], float] = time.monotonic,
        evidence_of: EvidenceOf = lambda *_: {},
    ) -> None:
        self.spool = spool
        self.results = dict.fromkeys(RESULTS, 0)
        self._url = url.rstrip("/") + "/v1/windows"
        self._node = node
        self._directory = RingDirectory(rings)
        self._pace = pace
        self._clock = clock
        self._evidence_of = evidence_of
        self._marks: dict[str, RingMark] = spool.marks()
        self._acknowledged: dict[str, RingMark] = {}
        self._told_alive: dict[str, bool] = {}
        self._muted: dict[str, float] = {}
        self._failures = 0
        self._retry_at = 0.0
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=pace.post_seconds))

    async def run(self, period_seconds: float) -> None:
        """Report for ever."""
        while True:
            try:
                await self.tick()
            except OSError as error:
                log.warning("cannot read the rings: %s", error)
            await asyncio.sleep(period_seconds)

    async def close(self) -> None:
        """Close connections and rings."""
        await self._session.close()
        self._directory.close()

    async def tick(self) -> None:
        """Send what is new, or keep it."""
        rings = (await asyncio.to_thread(self._directory.scan)).rings
        self._forget(rings)
        if self._clock() >= self._retry_at:
            try:
                if await self._replay():
                    await self._send_news(rings)
                    self._came_back()
                    return
            except TunerAway as error:
                self._went_away(error)
        await self._keep(rings)

    async def _replay(self) -> bool:
        """Send spooled reports, oldest first; True when none is left."""
        for _ in range(self._pace.rounds):
            found = await asyncio.to_thread(self.spool.oldest)
            if found is None:
                # The tuner's word counts from here; until now the marks were ahead of it.
                self._marks.update(self._acknowledged)
                self._acknowledged.clear()
                return True
            name, body = found
            await self._replay_one(body)
            await asyncio.to_thread(self.spool.remove, name)
        return False

    async def _replay_one(self, body: bytes) -> None:
        try:
            self._acknowledged.update((await self._post(body)).rings)
            self.results["replayed"] += 1
        except ReportRefused as error:
            report = json.loads(body)
            if len(report["rings"]) > 1:  # one ring's fault is not to cost the others
                for ring in report["rings"]:
                    await self._replay_one(json.dumps({**report, "rings": [ring]}).encode())
            else:
                self._refused(error)

    async def _send_news(self, rings: Mapping[str, RingReader]) -> None:
        for _ in range(self._pace.rounds):
            batches = await asyncio.to_thread(self._batches, rings, _always)
            for batch in batches:
                await self._send(batch)
            if not any(map(self._is_full, (report for batch in batches for report in batch))):
                return

    def _is_full(self, report: RingReport) -> bool:
        window = report.window
        return window is not None and window.last - window.first + 1 >= self._pace.records_per_ring

    async def _send(self, batch: Sequence[RingReport]) -> None:
        try:
            answer = await self._post(await asyncio.to_thread(self._encode, batch))
        except ReportRefused as error:
            if len(batch) > 1:  # find the one that is wrong, the others are not to suffer for it
                for report in batch:
                    await self._send([report])
                return
            self._refused(error)
            self._mute(batch[0].run_id)
            return
        self.results["accepted"] += 1
        for report in batch:
            mark = answer.rings.get(report.ring)
            if mark is not None:
                self._marks[report.ring] = mark
                self._told_alive[report.ring] = report.alive
                if not mark.known:
                    self._mute(report.run_id)

    async def _keep(self, rings: Mapping[str, RingReader]) -> None:
        """Spool what the rings may not hold until the tuner is back."""
        for _ in range(self._pace.rounds):
            batches = await asyncio.to_thread(self._batches, rings, self._urgent)
            if not batches:
                return
            try:
                for batch in batches:
                    await self._spool(batch)
            except OSError as error:
                self.results["spool_failed"] += 1
                log.warning(
                    "cannot spool to %s (%s): the rings keep what they can", self.spool.directory, error.strerror
                )
                return

    async def _spool(self, batch: Sequence[RingReport]) -> None:
        marks = {report.ring: self._after(report) for report in batch}
        body = await asyncio.to_thread(self._encode, batch)
        await asyncio.to_thread(self.spool.append, body, marks)
        self._marks.update(marks)
        self._told_alive.update((report.ring, report.alive) for report in batch)
        self.results["spooled"] += 1

    def _after(self, report: RingReport) -> RingMark:
        mark = self._marks.get(report.ring)
        record = report.window.last + 1 if report.window else mark.next_record if mark else 0
        event = report.events[-1].number + 1 if report.events else mark.next_event if mark else 0
        return RingMark(record, event, report.generation, known=True)

    def _urgent(self, ring: str, reader: RingReader) -> bool:
        mark = self._marks.get(ring)
        waiting = reader.cursors()[0] - (mark.next_record if mark else 0)
        return waiting >= self._pace.spool_after_records or not reader.alive()

    def _batches(self, rings: Mapping[str, RingReader], wanted: Wanted) -> list[list[RingReport]]:
        batches: list[list[RingReport]] = []
        room = 0
        for report in self._news(rings, wanted):
            records = 1 if report.window is None else report.window.last - report.window.first + 1
            if records > room:
                batches.append([])
                room = self._pace.records_per_report
            batches[-1].append(report)
            room -= records
        return batches

    def _news(self, rings: Mapping[str, RingReader], wanted: Wanted) -> Iterator[RingReport]:
        now = self._clock()
        for ring, reader in rings.items():
            try:
                report = self._report(ring, reader) if wanted(ring, reader) else None
            except (OSError, ValueError, RecursionError) as error:  # one bad file costs itself only
                log.debug("ring %s cannot be reported: %s", ring, error)
                continue
            if report is not None and self._muted.get(report.run_id, 0.0) <= now:
                yield report

    def _report(self, ring: str, reader: RingReader) -> RingReport | None:
        died = self._told_alive.get(ring, True) != reader.alive()
        report = ring_report(reader, self._marks.get(ring), self._pace.records_per_ring, always=died)
        return report and with_evidence(report, self._evidence_of(report.run_id, report.rank))

    def _encode(self, batch: Sequence[RingReport]) -> bytes:
        return json.dumps(Report("agent", self._node, batch).encode()).encode()

    async def _post(self, body: bytes) -> Acknowledgement:
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
                if answer.status in (400, 413, 422):
                    raise ReportRefused(f"{answer.status}: {(await answer.text())[:200]}")
                if answer.status != 200:
                    raise TunerAway(f"{self._url} answers {answer.status}")
                return Acknowledgement.decode(await answer.json())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TunerAway(f"{self._url}: {error or 'no answer in time'}") from error
        except (MessageError, ValueError, AttributeError) as error:
            raise TunerAway(f"{self._url} answers something else: {error}") from error

    def _refused(self, error: ReportRefused) -> None:
        self.results["rejected"] += 1
        log.warning("the tuner refuses a report, which is dropped: %s", error)

    def _mute(self, run_id: str) -> None:
        self._muted[run_id] = self._clock() + self._pace.unknown_seconds

    def _forget(self, rings: Mapping[str, RingReader]) -> None:
        now = self._clock()
        self._muted = {run: until for run, until in self._muted.items() if until > now}
        for table in (self._marks, self._told_alive):
            for ring in table.keys() - rings.keys():
                del table[ring]

    def _came_back(self) -> None:
        if self._failures:
            log.info("the tuner is back; the spool is empty")
        self._failures = 0

    def _went_away(self, error: TunerAway) -> None:
        if not self._failures:
            log.warning("the tuner is away: %s; reports are kept", error)
        shortest, longest = self._pace.backoff_seconds
        wait = min(longest, shortest * 2.0 ** min(self._failures, 16))
        self._retry_at = self._clock() + wait * random.uniform(0.5, 1.0)
        self._failures += 1
        self.results["failed"] += 1


def _always(_ring: str, _reader: RingReader) -> bool:
    return True
