"""The runs as they go on, across agents: the same diagnosis that `explain` makes, fed as records come."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from paceline_exporters.diagnosis.endings import FAILED, Fate
from paceline_exporters.diagnosis.evidence import Evidence
from paceline_exporters.diagnosis.hang import PHASE_FIELDS, Progress
from paceline_exporters.diagnosis.jobsteps import JobStep
from paceline_exporters.diagnosis.phases import waiting
from paceline_exporters.diagnosis.replay import values_of
from paceline_exporters.diagnosis.run import RunDiagnosis
from paceline_exporters.messages import RingReport

from ..diagnosis.asking import Steps

RECENT_STEPS = 20
"""Step time, shares and rates are over so many."""
PHASES = ("data_wait", "sync_wait", "forward", "backward", "optimizer", "other")


@dataclass
class LiveRank:
    """One rank of the latest attempt."""

    rank: int
    node: str
    agent: str
    """URL of the agent that sees it."""
    ring: str
    alive: bool = True
    fate: Fate = field(default_factory=Fate)
    """How it fares, as it says itself."""
    step: int | None = None
    place: Progress | None = None
    """Where it is now; None where that is not known."""
    next_record: int = 0
    evidence: Evidence = field(default_factory=dict)
    recent: deque[Mapping[str, float]] = field(default_factory=lambda: deque(maxlen=RECENT_STEPS))

    @property
    def lost(self) -> bool:
        """Whether its process ended without a word."""
        return not self.alive and not self.fate.word

    @property
    def failed(self) -> bool:
        """Whether an exception ended its training."""
        return self.fate.word in FAILED

    @property
    def step_seconds(self) -> float | None:
        """Of the median step."""
        known = [values["step_seconds"] for values in self.recent if "step_seconds" in values]
        return statistics.median(known) if known else None

    @property
    def tokens_per_second(self) -> float | None:
        """While in steps; samples where tokens are not counted are not tokens."""
        known = [(v["tokens"], v["step_seconds"]) for v in self.recent if {"tokens", "step_seconds"} <= v.keys()]
        seconds = sum(seconds for _, seconds in known)
        return sum(tokens for tokens, _ in known) / seconds if seconds else None

    @property
    def waiting(self) -> float | None:
        """For others or for the network, as a share of those of the latest steps in which it is known."""
        steps = [(JobStep(0, {0: values}, complete=False), values.get("step_seconds")) for values in self.recent]
        known = [(waits[0], seconds) for step, seconds in steps if seconds and (waits := waiting(step))]
        whole = sum(seconds for _, seconds in known)
        return sum(waits for waits, _ in known) / whole if whole else None

    def shares(self) -> dict[str, float]:
        """Of each phase in the time of the latest steps."""
        sums = {phase: sum(v.get(PHASE_FIELDS[phase], 0.0) for v in self.recent) for phase in PHASES}
        whole = max(sum(v.get("step_seconds", 0.0) for v in self.recent), sum(sums.values()))
        return {phase: seconds / whole for phase, seconds in sums.items()} if whole else {}


class LiveRun:
    """The latest attempt of one run, on all agents."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.world_size = 1
        self.ranks: dict[int, LiveRank] = {}
        self.diagnosis = RunDiagnosis(1)
        self.last_sign = 0.0
        """Unix time: when a rank was last seen to live; of one that had ended before, its latest event."""
        self._attempt = -1
        self._places: dict[str, Mapping[int, Progress]] = {}

    @property
    def alive(self) -> bool:
        """Whether a rank that is seen lives."""
        return any(rank.alive for rank in self.ranks.values())

    @property
    def failed(self) -> bool:
        """Whether an exception ended a rank that is seen."""
        return any(rank.failed for rank in self.ranks.values())

    @property
    def hung(self) -> Collection[int]:
        """Ranks to look at in a standstill: the one that is behind, or all."""
        standstill = self.diagnosis.standstill
        if standstill is None:
            return ()
        return self.ranks.keys() if standstill.rank is None else (standstill.rank,)

    def take(self, agents: Mapping[str, Steps]) -> None:
        """What agents, by URL, say now; records that were seen before are left out.

        Agents that answer at the same time are to be given together: a step is complete with the ranks known.
        """
        reports = [(agent, report) for agent, steps in agents.items() for report in steps.rings]
        newest = max((report.attempt for _, report in reports), default=-1)
        if newest > self._attempt or any(self._restarts(report) for _, report in reports):
            self._attempt, self.diagnosis = max(newest, self._attempt), RunDiagnosis(1)
            self.ranks.clear()
            self._places.clear()
        records: list[tuple[float, int, Mapping[str, float]]] = []
        for agent, report in reports:
            if report.attempt == self._attempt and not self._is_of_the_past(report):
                self._meet(agent, report)
                records += self._news(report)
        self.diagnosis.expect(len(self.ranks), self.world_size)
        for _, number, values in sorted(records, key=lambda record: record[:2]):
            self.diagnosis.add(number, values)
        self._places |= {agent: steps.progress for agent, steps in agents.items()}
        places = {rank: place for one in self._places.values() for rank, place in one.items()}
        for number, rank in self.ranks.items():
            rank.place = places.get(number)
        over = {number: rank for number, rank in self.ranks.items() if rank.fate.word or not rank.alive}
        gone = {number: rank.fate.ending(rank.step) for number, rank in over.items()}
        self.diagnosis.stands(places, everyone=len(places) + len(gone) >= self.world_size, gone=gone)

    def lose(self, agent: str) -> None:
        """The agent is away: where its ranks are is not known."""
        self._places.pop(agent, None)

    def _restarts(self, report: RingReport) -> bool:
        """A second ring of a rank whose first is dead: a restart that the launcher did not count."""
        known = self.ranks.get(report.rank)
        return known is not None and known.ring != report.ring and report.alive and not known.alive

    def _is_of_the_past(self, report: RingReport) -> bool:
        known = self.ranks.get(report.rank)
        return known is not None and known.ring != report.ring and not report.alive

    def _meet(self, agent: str, report: RingReport) -> None:
        rank = self.ranks.get(report.rank)
        if rank is None or rank.ring != report.ring:
            rank = self.ranks[report.rank] = LiveRank(report.rank, report.node, agent, report.ring)
            self.diagnosis.place(report.rank, report.node)
        rank.agent, rank.alive = agent, report.alive
        rank.fate = Fate().after(report.events)
        self.diagnosis.heard(report.rank, rank.fate)
        self.world_size = report.world_size
        signs = [time.time()] if report.alive else [event.wall for event in report.events]
        self.last_sign = max([self.last_sign, *signs])
        if report.window is not None:
            rank.evidence = report.window.evidence
            self.diagnosis.saw(report.rank, rank.evidence)

    def _news(self, report: RingReport) -> list[tuple[float, int, Mapping[str, float]]]:
        window, rank = report.window, self.ranks[report.rank]
        if window is None:
            return []
        found = []
        for values in values_of(window, max(rank.next_record, window.first)):
            rank.recent.append(values)
            if "step" in values:
                rank.step = int(values["step"])
                found.append((values["step"], report.rank, values))
        rank.next_record = max(rank.next_record, window.last + 1)
        return found
