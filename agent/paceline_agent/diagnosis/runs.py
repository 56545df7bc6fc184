"""A diagnosis for each run that has ranks on this node, fed from their rings."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from paceline_exporters.attach import layout
from paceline_exporters.diagnosis.evidence import Evidence
from paceline_exporters.diagnosis.explanation import Explanation, RankState, explain, told
from paceline_exporters.diagnosis.findings import Finding
from paceline_exporters.diagnosis.hang import PHASE_FIELDS, Progress
from paceline_exporters.diagnosis.jobsteps import FieldValues
from paceline_exporters.diagnosis.phases import BACKWARD, TOKENS, WORK
from paceline_exporters.diagnosis.run import RunDiagnosis
from paceline_exporters.messages import LARGEST, RingMark, RingReport
from paceline_exporters.metrics import Distribution
from paceline_exporters.ranks import FIRST_RECORDS, Follower, Rank
from paceline_exporters.rings import RingDirectory, StepRow

from ..reports import ring_report, with_evidence

KEEP_ENDED_SECONDS = 300.0
"""A run that ended can be asked about for so long."""
MOST_RUNS = 64
STEP_BOUNDS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds."""

FIELDS = frozenset(
    (
        *("step", "step_seconds", "compile_seconds"),
        *(name for names in WORK.values() for name in names),
        *BACKWARD,
        *TOKENS,
        *PHASE_FIELDS.values(),
    )
)
"""Fields of a step record that a diagnosis reads."""
SERVED = FIELDS | {"ddp_exposed_seconds"}
"""And those that `top` shows besides."""
_READ = [(index, name) for index, name in enumerate(layout.STEP_FIELDS) if name in FIELDS]

EvidenceOf = Callable[[str], Evidence]
"""What this node and the GPU with this UUID (empty: unknown) saw lately."""
Hung = Callable[[str, Finding, Mapping[int, Path]], None]
"""Told of a standstill once: run, finding, and the ring of each of its ranks here that lives."""


@dataclass
class Run:
    """The latest attempt of a run, as this node sees it."""

    run_id: str
    attempt: int
    diagnosis: RunDiagnosis
    ranks: dict[int, Follower] = field(default_factory=dict)
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("straggler", "communication", "regression", "hang"), 0)
    )
    """Findings by kind, over all attempts that were seen."""
    durations: Distribution = field(default_factory=lambda: Distribution(STEP_BOUNDS))
    """Of steps, as the lowest rank here has them: all take as long. Over all attempts that were seen."""
    last_alive: float = 0.0
    """Unix time."""

    @property
    def alive(self) -> bool:
        """Whether a rank of it here lives."""
        return any(rank.alive for rank in self.seats())

    @property
    def world_size(self) -> int:
        """Of the whole run."""
        return max((rank.whole("world_size", 1) for rank in self.seats()), default=1)

    def seats(self) -> Iterator[Rank]:
        """Its ranks on this node."""
        return (one.rank for one in self.ranks.values() if one.rank is not None)


class Runs:
    """Follows the rings of a directory. Its methods may come from different threads."""

    def __init__(
        self,
        rings: Path,
        evidence_of: EvidenceOf,
        on_hang: Hung = lambda *_: None,
        keep_ended_seconds: float = KEEP_ENDED_SECONDS,
        first_records: int = FIRST_RECORDS,
    ) -> None:
        """`first_records`: of a ring that was there before, the latest so many are taken."""
        self._directory = RingDirectory(rings)
        self._evidence_of = evidence_of
        self._on_hang = on_hang
        self._keep_ended_seconds = keep_ended_seconds
        self._first_records = first_records
        self._followers: dict[str, Follower] = {}
        self._runs: dict[str, Run] = {}
        self._lock = threading.Lock()

    def look(self) -> list[Run]:
        """Take over what is new; the runs there are. Raises OSError where the directory cannot be read."""
        with self._lock:
            now = time.time()
            rings = self._directory.scan().rings
            for gone in self._followers.keys() - rings.keys():
                _leave(self._followers.pop(gone))
            for uuid in sorted(rings.keys() - self._followers.keys(), key=lambda uuid: rings[uuid].created):
                self._followers[uuid] = Follower(rings[uuid])
            # All ranks join before the first record is taken: a step is complete with the ranks that are known.
            for follow in (self._join, self._advance):
                for follower in self._followers.values():
                    self._try(follow, follower, now)
            self._runs = {name: run for name, run in self._runs.items() if self._stays(run, now)}
            for run in self._runs.values():
                self._feed(run)
                self._watch(run)
            return sorted(self._runs.values(), key=lambda run: run.run_id)

    def listing(self) -> list[dict[str, Any]]:
        """The runs that can be asked about, as JSON."""
        with self._lock:
            return [_entry(run) for _, run in sorted(self._runs.items())]

    def explain(self, run_id: str) -> Explanation | None:
        """The verdict on a run from the ranks that are here; None for a run that is not."""
        with self._lock:
            run = self._runs.get(run_id)
            if run is None:
                return None
            states = [_state(number, follower) for number, follower in sorted(run.ranks.items())]
            return explain(run.diagnosis, run.run_id, run.attempt, run.world_size, states)

    def steps(self, run_id: str, last: int) -> tuple[list[RingReport], dict[int, Progress]] | None:
        """The latest records of each rank here with the evidence on it, and where it is now; None for a run that
        is not here."""
        with self._lock:
            run = self._runs.get(run_id)
            if run is None:
                return None
            reports = (_report(follower, run, number, last) for number, follower in sorted(run.ranks.items()))
            return [report for report in reports if report is not None], _places(run)

    def evidence(self, run_id: str, rank: int) -> Evidence:
        """What the node saw lately of a rank here; empty where it is not here. Does not wait."""
        run = self._runs.get(run_id)
        return {} if run is None else run.diagnosis.evidence.get(rank, {})

    def close(self) -> None:
        """Close the rings."""
        with self._lock:
            self._runs.clear()
            self._followers.clear()
            self._directory.close()

    def _try(self, follow: Callable[[Follower, float], object], follower: Follower, now: float) -> None:
        if follower.broken:
            return
        try:
            follow(follower, now)
        except (OSError, ValueError, RecursionError):  # one hostile or failing file costs itself only
            _leave(follower)

    def _join(self, follower: Follower, now: float) -> None:
        if follower.rank is not None:
            return
        follower.refresh(now)
        identity = follower.identity()
        if identity is None:
            return
        run_id, number = identity
        attempt = _attempt(follower)
        run = self._runs.get(run_id)
        if run is None and len(self._runs) >= MOST_RUNS:
            return
        # A second ring of a rank is a restart that its launcher did not count.
        if run is None or attempt > run.attempt or (attempt == run.attempt and number in run.ranks):
            before, run = run, Run(run_id, attempt, RunDiagnosis(1))
            self._runs[run_id] = run
            if before is not None:
                run.counts, run.durations = before.counts, before.durations
        if attempt < run.attempt:
            return
        follower.join(Rank(run_id, number), self._first_records)
        run.ranks[number] = follower
        run.diagnosis.expect(len(run.ranks))
        run.diagnosis.place(number, str(follower.data.get("node", "")))

    def _advance(self, follower: Follower, now: float) -> None:
        follower.advance(now)

    def _feed(self, run: Run) -> None:
        """Records of all ranks in the order of their steps: no rank runs ahead of the others."""
        records = [
            (values.get("step", -1.0), rank, values)
            for rank, follower in run.ranks.items()
            for row in follower.rows
            if (values := known(row))
        ]
        lowest = min(run.ranks)
        for _, rank, values in sorted(records, key=lambda record: record[:2]):
            self._count(run, run.diagnosis.add(rank, values))
            if rank == lowest and "step_seconds" in values:
                run.durations.observe(values["step_seconds"])

    def _watch(self, run: Run) -> None:
        for number, follower in run.ranks.items():
            gpu = follower.rank.text("gpu_uuid") if follower.rank else ""
            run.diagnosis.saw(number, self._evidence_of(gpu))
        places = _places(run)
        finding = run.diagnosis.stands(places, everyone=len(places) >= run.world_size)
        if finding is not None:
            self._count(run, [finding])
            self._on_hang(run.run_id, finding, {number: run.ranks[number].reader.path for number in places})

    def _count(self, run: Run, findings: list[Finding]) -> None:
        for finding in findings:
            run.counts[finding.kind] += 1

    def _stays(self, run: Run, now: float) -> bool:
        if run.alive:
            run.last_alive = now
            return True
        signs = [run.last_alive, *(rank.last_alive for rank in run.seats())]
        return now < max(signs) + self._keep_ended_seconds


def _leave(follower: Follower) -> None:
    """Its file is gone or cannot be read: what was seen of it stays, and nothing more is read."""
    follower.broken, follower.rows = True, []
    if follower.rank is not None:
        follower.rank.alive = False


def known(row: StepRow) -> FieldValues:
    """The record's known fields by name, of those that a diagnosis reads."""
    return {name: value for index, name in _READ if (value := row[index]) - value == 0.0}


def progress(follower: Follower) -> Progress | None:
    """Where the rank is now; None before its first step."""
    rank = follower.rank
    if rank is None or "step" not in rank.latest:
        return None
    try:
        phase, since = phase_of(follower, rank)
    except OSError:  # one failing file costs itself only
        return None
    seconds = time.monotonic() - since
    if not seconds >= 0.0:  # unknown, or of another boot
        return None
    return Progress(int(rank.latest["step"]), phase, seconds)


def phase_of(follower: Follower, rank: Rank) -> tuple[str, float]:
    """Phase that the rank is in and since when, monotonic seconds; a ring that does not say (an older version's)
    has none, and since the latest step's end, NaN where that is unknown too. Raises OSError."""
    phase, since = follower.reader.phase()
    return (phase, since) if phase else ("", rank.latest.get("monotonic", math.nan))


def _places(run: Run) -> dict[int, Progress]:
    """Of the ranks here that live and train."""
    return {
        number: place
        for number, one in run.ranks.items()
        if one.rank is not None and one.rank.training and (place := progress(one)) is not None
    }


def _entry(run: Run) -> dict[str, Any]:
    verdict = run.diagnosis.verdict()
    return {
        "run_id": run.run_id,
        "attempt": run.attempt,
        "ranks": sorted(run.ranks),
        "world_size": run.world_size,
        "alive": run.alive,
        "verdict": verdict.kind,
        "summary": verdict.summary,
    }


def _state(number: int, follower: Follower) -> RankState:
    alive = follower.rank is not None and follower.rank.alive
    events = [] if follower.broken else told(follower.reader.events(0))
    return RankState(number, str(follower.data.get("node", "")), alive, events)


def _report(follower: Follower, run: Run, number: int, last: int) -> RingReport | None:
    if follower.broken:
        return None
    try:
        first = max(0, follower.reader.cursors()[0] - last)
        mark = RingMark(next_record=first, next_event=0, generation=LARGEST, known=True)
        report = ring_report(follower.reader, mark, last, always=True)
    except (OSError, ValueError, RecursionError):  # one hostile or failing file costs itself only
        return None
    if report is None or report.window is None:
        return report
    columns = {name: values for name, values in report.window.columns.items() if name in SERVED}
    served = replace(report, window=replace(report.window, columns=columns))
    return with_evidence(served, run.diagnosis.evidence.get(number, {}))


def _attempt(follower: Follower) -> int:
    value = follower.data.get("attempt", 0)
    return value if type(value) is int else 0
