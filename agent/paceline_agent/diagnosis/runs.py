"""A diagnosis for each run that has ranks on this node, fed from their rings."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from paceline_exporters.attach import layout
from paceline_exporters.diagnosis.endings import Fate
from paceline_exporters.diagnosis.evidence import Evidence
from paceline_exporters.diagnosis.explanation import Explanation, RankState, explain, told
from paceline_exporters.diagnosis.findings import Finding
from paceline_exporters.diagnosis.hang import LEAST_TOLD, PHASE_FIELDS, Progress
from paceline_exporters.diagnosis.jobsteps import FieldValues
from paceline_exporters.diagnosis.phases import BACKWARD, TOKENS, WORK
from paceline_exporters.diagnosis.run import RunDiagnosis
from paceline_exporters.diagnosis.thinning import ALWAYS
from paceline_exporters.following import Follower, Followers, News, text, whole
from paceline_exporters.messages import LARGEST, RingMark, RingReport
from paceline_exporters.metrics import Distribution
from paceline_exporters.rings import StepRow

from ..reports import ring_report, with_evidence

log = logging.getLogger(__name__)

KEEP_ENDED_SECONDS = 300.0
"""A run that ended can be asked about for so long."""
MOST_RUNS = 64
"""Followed at a time; one that ended makes room for one that lives."""
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
_STEP, _MONOTONIC, _SECONDS = (layout.STEP_FIELDS.index(name) for name in ("step", "monotonic", "step_seconds"))
_READ = [(index, name) for index, name in enumerate(layout.STEP_FIELDS) if name in FIELDS]
_TELLING = [
    (layout.STEP_FIELDS.index(name), least)
    for name, least in (
        ("evaluation_seconds", 0.0),
        ("checkpoint_seconds", 0.0),
        # What was between two steps is told apart, or is in the step.
        ("pause_seconds", LEAST_TOLD["pause"] / 2),
        ("step_seconds", LEAST_TOLD["pause"] / 2),
        (ALWAYS, 0.0),
    )
]
"""Fields with which, above so much, also a step that is not looked at says something."""

EvidenceOf = Callable[[str], Evidence]
"""What this node and the GPU with this UUID (empty: unknown) saw lately."""
Hung = Callable[[str, Finding, Mapping[int, Path]], None]
"""Told of a standstill once: run, finding, and the ring of each of its ranks here that lives."""


@dataclass
class Place:
    """A rank of a run on this node, and how far it is."""

    follower: Follower
    alive: bool
    """Whether its trainer lived at the latest look: the follower may know of its end already, but its last words
    are then still to come here."""
    step: int | None = None
    monotonic: float = math.nan
    """When its latest step ended, seconds."""
    fate: Fate = field(default_factory=Fate)
    """How it fares, as it says itself."""
    rows: list[StepRow] = field(default_factory=list)
    """What the latest look took over."""
    lengths: list[float] = field(default_factory=list)
    """Seconds of its steps, of those that were not counted before."""

    @property
    def training(self) -> bool:
        """Whether steps are still to be expected."""
        return self.alive and not self.fate.word

    @property
    def lost(self) -> bool:
        """Whether its process ended without a word; of a file that is gone that is not known."""
        return not (self.alive or self.follower.broken or self.fate.word)

    def take(self, news: News) -> None:
        """What is new in its ring."""
        self.fate = self.fate.after(news.events)
        self.rows += news.rows
        self.lengths += [seconds for row in news.fresh if (seconds := row[_SECONDS]) - seconds == 0.0]
        for row in news.rows:
            if row[_STEP] - row[_STEP] == 0.0:
                self.step, self.monotonic = int(row[_STEP]), row[_MONOTONIC]


@dataclass
class Run:
    """The latest attempt of a run, as this node sees it."""

    run_id: str
    attempt: int
    diagnosis: RunDiagnosis
    ranks: dict[int, Place] = field(default_factory=dict)
    """Those on this node."""
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
        return any(place.alive for place in self.ranks.values())

    @property
    def last_sign(self) -> float:
        """Unix time: when a rank of it here was last seen to live."""
        return max([self.last_alive, *(place.follower.last_alive for place in self.ranks.values())])

    @property
    def world_size(self) -> int:
        """Of the whole run."""
        return max((whole(place.follower.data, "world_size", 1) for place in self.ranks.values()), default=1)


class Runs:
    """Follows the rings of a directory. Its methods may come from different threads."""

    def __init__(
        self,
        followers: Followers,
        evidence_of: EvidenceOf,
        on_hang: Hung = lambda *_: None,
        keep_ended_seconds: float = KEEP_ENDED_SECONDS,
        patience_seconds: float = 0.0,
        most_runs: int = MOST_RUNS,
    ) -> None:
        """Rings that somebody else read within `patience_seconds` are not read again for a look."""
        self._followers = followers
        self._news = followers.tap()
        self._evidence_of = evidence_of
        self._on_hang = on_hang
        self._keep_ended_seconds = keep_ended_seconds
        self._patience_seconds = patience_seconds
        self._most_runs = most_runs
        self._runs: dict[str, Run] = {}
        self._met: set[str] = set()
        """Rings that took their place in a run, or are of an attempt before its latest, by UUID."""
        self._told_full = False
        self._lock = threading.Lock()

    def look(self) -> list[Run]:
        """Take over what is new; the runs there are."""
        self._followers.look(unless_within=self._patience_seconds)
        with self._lock:
            now = time.time()
            self._take_over()
            self._met &= self._followers.current.keys()
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
            with self._followers.lock:
                states = [_state(number, place) for number, place in sorted(run.ranks.items())]
            return explain(run.diagnosis, run.run_id, run.attempt, run.world_size, states)

    def steps(self, run_id: str, last: int) -> tuple[list[RingReport], dict[int, Progress]] | None:
        """The latest records of each rank here with the evidence on it, and where it is now; None for a run that
        is not here."""
        with self._lock:
            run = self._runs.get(run_id)
            if run is None:
                return None
            with self._followers.lock:
                reports = [_report(place.follower, run, rank, last) for rank, place in sorted(run.ranks.items())]
            return [report for report in reports if report is not None], self._progress(run)

    def evidence(self, run_id: str, rank: int) -> Evidence:
        """What the node saw lately of a rank here; empty where it is not here. Does not wait."""
        run = self._runs.get(run_id)
        return {} if run is None else run.diagnosis.evidence.get(rank, {})

    def close(self) -> None:
        """Close the rings."""
        self._followers.close()
        with self._lock:
            self._runs.clear()

    def _take_over(self) -> None:
        """What is new, and who lives, both as of one look at the rings."""
        with self._followers.lock:
            for run in self._runs.values():
                for there in run.ranks.values():
                    there.alive = there.follower.alive
            news = list(self._news.drain())
            # All ranks join before the first record is taken: a step is complete with the ranks that are known.
            places = [self._join(one.follower) for one in news]
            for one, place in zip(news, places, strict=True):
                if place is not None:
                    place.take(one)

    def _join(self, follower: Follower) -> Place | None:
        """The place that a ring is of; None for a ring that is none of a run's latest attempt."""
        if follower.identity is None:
            return None
        run_id, number = follower.identity
        run = self._runs.get(run_id)
        if run is not None and number in run.ranks and run.ranks[number].follower is follower:
            return run.ranks[number]
        uuid, attempt = follower.reader.uuid, whole(follower.data, "attempt")
        if follower.broken or uuid in self._met or (run is None and not self._has_room(follower)):
            return None
        self._met.add(uuid)
        if run is not None and attempt < run.attempt:
            return None
        # A second ring of a rank is a restart that its launcher did not count.
        if run is None or attempt > run.attempt or number in run.ranks:
            before, run = run, Run(run_id, attempt, RunDiagnosis(1))
            self._runs[run_id] = run
            if before is not None:
                run.counts, run.durations = before.counts, before.durations
                if before.attempt == attempt:
                    run.ranks |= _survivors(before, number)
        place = run.ranks[number] = Place(follower, follower.alive)
        run.diagnosis.expect(len(run.ranks), run.world_size)
        for rank, one in run.ranks.items():
            run.diagnosis.place(rank, text(one.follower.data, "node"))
        return place

    def _has_room(self, newcomer: Follower) -> bool:
        """For one more run: where there are too many, the one that ended longest ago leaves."""
        if len(self._runs) < self._most_runs:
            return True
        older = [run for run in self._runs.values() if not run.alive and run.last_sign <= newcomer.last_alive]
        if older:
            del self._runs[min(older, key=lambda run: run.last_sign).run_id]
        elif newcomer.alive and not self._told_full:
            self._told_full, name = True, text(newcomer.data, "run_id")
            log.warning("%d runs live here: run %r and any other are not diagnosed", self._most_runs, name)
        return bool(older)

    def _feed(self, run: Run) -> None:
        """Records of all ranks in the order of their steps: no rank runs ahead of the others."""
        rows = [(rank, row) for rank, place in run.ranks.items() for row in place.rows]
        lengths = run.ranks[min(run.ranks)].lengths
        for place in run.ranks.values():  # first of all: what cannot be judged is not to be met again
            place.rows, place.lengths = [], []
        for seconds in lengths:
            run.durations.observe(seconds)
        records = [
            (values.get("step", -1.0), rank, values)
            for rank, row in rows
            if (_tells(row) or run.diagnosis.looks_at(row[_STEP])) and (values := known(row))
        ]
        for _, rank, values in sorted(records, key=lambda record: record[:2]):
            self._count(run, run.diagnosis.add(rank, values))

    def _watch(self, run: Run) -> None:
        for number, place in run.ranks.items():
            run.diagnosis.saw(number, self._evidence_of(text(place.follower.data, "gpu_uuid")))
            run.diagnosis.heard(number, place.fate)
        progress = self._progress(run)
        # Of a file that is gone it may not be known how its rank ended, but it trains no more.
        over = {number: place for number, place in run.ranks.items() if not place.training}
        gone = {n: one.fate.ending(one.step) for n, one in over.items() if one.fate.word or one.lost}
        everyone = len(progress) + len(over) >= run.world_size
        finding = run.diagnosis.stands(progress, everyone, gone)
        if finding is not None:
            self._count(run, [finding])
            paths = {number: run.ranks[number].follower.reader.path for number in progress}
            self._on_hang(run.run_id, finding, paths)

    def _progress(self, run: Run) -> dict[int, Progress]:
        """Of the ranks here that live and train."""
        with self._followers.lock:
            found = {rank: progress(place) for rank, place in run.ranks.items() if place.training}
        return {rank: one for rank, one in found.items() if one is not None}

    def _count(self, run: Run, findings: list[Finding]) -> None:
        for finding in findings:
            run.counts[finding.kind] += 1

    def _stays(self, run: Run, now: float) -> bool:
        if run.alive:
            run.last_alive = now
            return True
        return now < run.last_sign + self._keep_ended_seconds


def _survivors(run: Run, restarted: int) -> dict[int, Place]:
    """Where one rank was restarted alone, the others live and go on: their rings are not met again."""
    return {rank: place for rank, place in run.ranks.items() if place.alive and rank != restarted}


def _tells(row: StepRow) -> bool:
    return any(row[index] > least for index, least in _TELLING)


def known(row: StepRow) -> FieldValues:
    """The record's known fields by name, of those that a diagnosis reads."""
    return {name: value for index, name in _READ if (value := row[index]) - value == 0.0}


def progress(place: Place) -> Progress | None:
    """Where the rank is now; None where its ring cannot tell."""
    try:
        phase, since = place.follower.reader.phase()
    except OSError:  # one failing file costs itself only
        return None
    seconds = time.monotonic() - since if phase else _unsaid_seconds(place)
    if not seconds >= 0.0:  # unknown, or of another boot
        return None
    age = time.monotonic() - place.monotonic
    return Progress(place.step or 0, phase, seconds, age if age >= 0.0 else None)


def _unsaid_seconds(place: Place) -> float:
    """A ring that does not say (an older version's, or training has not begun) is where its latest step ended, or
    where it was made: with DDP, before the first batch."""
    if place.step is None:
        return time.time() - place.follower.created
    return time.monotonic() - place.monotonic


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


def _state(number: int, place: Place) -> RankState:
    follower = place.follower
    events = [] if follower.broken else told(follower.reader.events(0))
    return RankState(number, text(follower.data, "node"), place.alive, events, place.lost, place.step)


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
    columns = {name: values for name, values in report.window.columns.items() if name in FIELDS}
    served = replace(report, window=replace(report.window, columns=columns))
    return with_evidence(served, run.diagnosis.evidence.get(number, {}))
