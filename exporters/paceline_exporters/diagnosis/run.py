"""The diagnosis of one attempt of a run: records and evidence in, findings and a verdict out."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

from .causes import explained
from .communication import CommunicationWatch
from .endings import Ending, Fate, with_gone, with_loss
from .evidence import Evidence, Past
from .findings import Finding, Verdict
from .hang import HangWatch, Progress
from .jobsteps import Alignment, FieldValues, JobStep
from .regression import RegressionWatch
from .straggler import StragglerWatch
from .thinning import Thinning
from .verdict import Shares, StepShares, shares, step_shares, verdict

LATEST_STEPS = 100
"""Steps that a verdict, and the length of a phase, rest on."""
MOST_FINDINGS = 100
LARGEST = 1e15
"""Of a record's values."""


class RunDiagnosis:
    """Feed it what ranks and nodes report, in any order between ranks, in order within one."""

    def __init__(self, expected_ranks: int) -> None:
        self._alignment = Alignment(expected_ranks)
        self._hang = HangWatch()
        self.evidence: dict[int, Evidence] = {}
        """What each rank's node saw lately."""
        self._past = Past()
        self._alone = False
        self._unseen = 0
        self._gone: Mapping[int, Ending] = {}
        self._fates: dict[int, Fate] = {}
        self._nodes: dict[int, str] = {}
        self.findings: deque[Finding] = deque(maxlen=MOST_FINDINGS)
        """All of this attempt, oldest first."""
        self._begin()

    def _begin(self) -> None:
        """Of what steps teach nothing is known, as before the first one."""
        self._thinning = Thinning()
        self._straggler = StragglerWatch()
        self._communication = CommunicationWatch()
        self._regression = RegressionWatch()
        self._latest: deque[JobStep] = deque(maxlen=LATEST_STEPS)
        self._shares: deque[StepShares] = deque(maxlen=LATEST_STEPS)

    def expect(self, ranks: int, world_size: int) -> None:
        """So many of the run's ranks will be fed; of a run on many nodes an agent sees its own only."""
        self._alignment.expected_ranks = ranks
        self._alone = world_size == 1
        self._unseen = max(0, world_size - ranks)

    def place(self, rank: int, node: str) -> None:
        """Where a rank runs."""
        self._nodes[rank] = node

    def saw(self, rank: int, evidence: Evidence) -> None:
        """What the rank's node saw lately; replaces what it said before."""
        self.evidence[rank] = evidence
        self._past.keep(rank, self._latest[-1].number if self._latest else 0, evidence)

    def looks_at(self, number: float) -> bool:
        """Whether a step of this number is one of those that are looked at. Where it is not, `add` may be spared
        the record, unless it tells of a rare phase (`hang.LEAST_TOLD`) or has DDP's own times."""
        return not self._thinning.leaves_out(number)

    def heard(self, rank: int, fate: Fate) -> None:
        """How the rank fares, as it says itself; replaces what it said before."""
        self._fates[rank] = fate

    def add(self, rank: int, values: FieldValues) -> list[Finding]:
        """One step record; what it settled. A value that is no amount (below 0, not finite) counts as unknown."""
        if not (min(values.values(), default=0.0) >= 0.0 and sum(values.values()) < LARGEST):
            values = {name: value for name, value in values.items() if 0.0 <= value < LARGEST}
        self._hang.learn(values)
        if self._thinning.skips(values):
            return []
        self._alignment.add(rank, values)
        return [finding for step in self._alignment.ready() for finding in self._take(step)]

    def stands(
        self, ranks: Mapping[int, Progress], everyone: bool, gone: Mapping[int, Ending] | None = None
    ) -> Finding | None:
        """Where the ranks that live and train are now; a standstill that was not told before.

        `everyone`: no other rank of the run lives and trains; `gone`: ranks that train no more.
        """
        self._gone = gone or {}
        found = self._hang.look(ranks, self._latest, everyone, self._gone)
        if found is None:
            return None
        told = self._told(found)
        self.findings.append(told)
        return told

    @property
    def latest(self) -> Sequence[JobStep]:
        """The latest steps."""
        return self._latest

    @property
    def shares(self) -> Shares | None:
        """Where the time of the latest steps went."""
        return shares(self._shares, self._unseen)

    @property
    def stragglers(self) -> dict[int, float]:
        """Ranks that the others wait for now, and what that costs as a share of the step."""
        return {rank: share for rank, _, share in reversed(self._straggler.current())}

    @property
    def standstill(self) -> Finding | None:
        """While the run stands still: since when, and on which rank."""
        return self._hang.current

    @property
    def hung(self) -> bool:
        """Whether the run stands still."""
        return self.standstill is not None

    def verdict(self) -> Verdict:
        """On the latest steps and what holds now."""
        told = verdict(self.shares, self._current(), self._throttled())
        return with_gone(with_loss(told, self._fates, self._nodes), self._gone, self._nodes)

    def _take(self, step: JobStep) -> list[Finding]:
        if self._latest and step.number < self._latest[-1].number:
            self._begin()  # another train() in the same processes
        self._thinning.learn(step)
        self._latest.append(step)
        row = step_shares(step, self._alone)
        if row is not None:
            self._shares.append(row)
        watches = (self._straggler, self._communication, self._regression)
        found = [self._told(finding) for watch in watches for finding in watch.add(step)]
        self.findings += found
        return found

    def _told(self, finding: Finding) -> Finding:
        if finding.kind == "communication" and finding.cause in ("communication", "unknown"):
            # What is slower may as well be a rank that is not seen.
            finding = replace(finding, cause="unknown" if self._unseen else "communication")
        before = {} if finding.kind == "straggler" else self._past.before(finding.since_step)
        told = explained(finding, self.evidence, before, self._nodes)
        return told if told.rank is None else replace(told, node=self._nodes.get(told.rank, ""))

    def _current(self) -> list[Finding]:
        """Of the findings those that still hold, with what they cost and what the evidence says now."""
        slow = {(rank, phase): share for rank, phase, share in self._straggler.current()}
        longer = self._regression.current
        latest = {_subject(finding): finding for finding in self.findings}
        kept = []
        for finding in latest.values():
            share: float | None = None
            if finding.kind == "straggler" and finding.rank is not None:
                share = slow.get((finding.rank, finding.phase))
            elif finding.kind == "regression":
                share = longer.get(finding.since_step)
            elif finding.kind == "communication" and self._communication.current:
                share = finding.share
            if share is not None:
                kept.append(self._told(replace(finding, share=share)))
        hang = self.standstill
        return kept if hang is None else [*kept, self._told(hang)]

    def _throttled(self) -> dict[int, float]:
        name = "gpu_throttled_ratio"
        return {rank: seen[name] for rank, seen in self.evidence.items() if name in seen}


def _subject(finding: Finding) -> tuple[object, ...]:
    """Of all findings on one subject the latest counts; each regression is on a normal of its own."""
    if finding.kind == "regression":
        return finding.kind, finding.since_step
    return (finding.kind, finding.rank, finding.phase) if finding.kind == "straggler" else (finding.kind,)
