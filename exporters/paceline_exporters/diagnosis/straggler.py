"""Which rank the others wait for, and in which phase, found step by step.

Per phase, and over all of them, a rank's excess is its own work less the median of the other ranks', as a
share of the step; a cumulative sum says when it is there for good. The same on the means of blocks of steps
finds a rank that stalls in one step of several.

Where a collective lies within a phase (synchronised batch norm, sharded parameters), who waits in it seems to
work: two ranks' excesses in two phases make up for each other, and the earlier is the reason for the later one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .cusum import THRESHOLD, Cusum, Hiccups, Noise
from .findings import Cause, Finding
from .jobsteps import JobStep
from .phases import SCALES_WITH_TOKENS, TOKENS, WORK, first, is_disturbed, step_seconds
from .sums import Block, Sums
from .tokens import TokenSlope

WARM_UP_STEPS = 3
"""First steps of a run allocate, compile and fill caches."""
MOST_OF_PHASE = 0.05
"""Share of the step that each phase counts at most in the sum over all: a hiccup in one is not slow work."""
SLOW_IN_ALL, SURE_IN_ALL = 0.055, 13.0
"""As SLOW and SURE, for that sum."""
MINOR = 0.07
"""Share of the step, 8 % of a healthy one, below which a straggler is not told."""
BY_FAR = 1.5
"""A rank that is slow in another phase as well is told again when that costs so many times as much."""
CYCLE = ("optimizer", "other", "data_wait", "forward", "backward")
"""Phases from one gradient all-reduce, where all ranks meet, to the next."""
AFTER_MEETING = ("optimizer", "other")
LONGER = 0.05
"""Tokens more than the others', of theirs, that may be what makes a rank slow."""
MADE_UP = 0.5
"""Of an excess, what less work in other phases makes up for where ranks wait for each other."""
TOTAL = ""
"""Beside the phases: a rank's own work in all of them."""


class StragglerWatch:
    """Follows one attempt of a run; feed it its steps in order."""

    def __init__(self) -> None:
        names = (*WORK, TOTAL)
        self._slopes = {phase: TokenSlope() for phase in SCALES_WITH_TOKENS}
        self._steps = {name: Sums() for name in names}
        self._steps[TOTAL].hiccups = Hiccups(slow=SLOW_IN_ALL, sure=SURE_IN_ALL)
        self._means = {name: Sums(Noise(sigma=0.02)) for name in names}
        """Of blocks."""
        self._blocks = {name: Block() for name in names}
        self._told: dict[int, str] = {}
        """Phase by straggler."""
        self._suspects: set[int] = set()
        """Ranks that a sum found and that are not told: it costs little, or they may be waiting."""
        self._seen = 0

    def add(self, step: JobStep) -> list[Finding]:
        """What this step settled: a finding per rank, once until it calms down or another phase costs more."""
        seconds = step_seconds(step)
        if not seconds or len(step.ranks) < 2 or is_disturbed(step):
            return []
        self._seen += 1
        if self._seen <= WARM_UP_STEPS:
            return []
        self._suspects |= self._take(step, seconds)
        if self._told:
            self._told = {rank: phase for rank, phase in self._told.items() if self._holding(rank)}
        told = [self._tell(rank, step, seconds) for rank in sorted(self._suspects)] if self._suspects else []
        return [finding for finding in told if finding is not None]

    def current(self) -> list[tuple[int, str, float]]:
        """Stragglers now: rank, phase that costs most, what all of it costs as a share of the step; the costliest
        first."""
        found = [(rank, phase, _cost(self._holding(rank))) for rank, phase in self._told.items()]
        return sorted((one for one in found if one[2] > 0.0), key=lambda one: -one[2])

    def _take(self, step: JobStep, seconds: float) -> set[int]:
        """All sums take the step; the ranks that one of them finds with it."""
        tokens = first(step, TOKENS)
        found: set[int] = set()
        total, cut = dict.fromkeys(step.ranks, 0.0), dict.fromkeys(step.ranks, 0.0)
        most = MOST_OF_PHASE * seconds
        for name in WORK:
            work = first(step, WORK[name])
            if len(work) < 2:
                continue
            trusted = True
            if tokens and name in self._slopes:
                slope = self._slopes[name]
                equal = slope.without(work, tokens)
                slope.learn(work, tokens)
                work, trusted = equal, slope.learnt
            beyond = dict(beyond_others(work))
            found.update(self._steps[name].take(step.number, seconds, beyond, trusted))
            found |= self._take_block(name, step, seconds, work)
            for rank, own in work.items():
                total[rank] += own
                cut[rank] += max(-most, min(most, beyond[rank]))
        trusted = not tokens or all(slope.learnt for slope in self._slopes.values())
        whole = dict(beyond_others(total))
        found.update(self._steps[TOTAL].take(step.number, seconds, cut, trusted, whole))
        return found | self._take_block(TOTAL, step, seconds, total)

    def _take_block(self, name: str, step: JobStep, seconds: float, work: Mapping[int, float]) -> set[int]:
        block = self._blocks[name]
        if not block.add(seconds, work):
            return set()
        # What is slow in each step is not looked for here: its end would be seen late.
        beyond = {
            rank: 0.0 if any(sums.found(rank) for sums in self._steps.values()) else more
            for rank, more in beyond_others(block.work)
        }
        return set(self._means[name].take(step.number, block.seconds, beyond))

    def _holding(self, rank: int) -> dict[str, Cusum]:
        """The rank's sums that hold, by phase; beside another one the total as soon as it is as high."""
        found = {
            name: one for sums in (self._means, self._steps) for name in sums if (one := sums[name].found(rank))
        }
        total = self._steps[TOTAL].ranks.get(rank)
        if found and total is not None and total.sum >= THRESHOLD:
            found.setdefault(TOTAL, total)
        return found

    def _tell(self, rank: int, step: JobStep, seconds: float) -> Finding | None:
        holding = self._holding(rank)
        if not holding:
            self._suspects.discard(rank)
            return None
        parts, cost = self._parts(rank), _cost(holding)
        phase = self._costliest(rank, holding, parts)
        before = self._told.get(rank)
        if before is not None:
            self._suspects.discard(rank)
            if parts.get(phase, 0.0) <= BY_FAR * parts.get(before, 0.0):
                return None
        if cost < MINOR or _is_waiting(phase, parts):
            return None
        self._suspects.discard(rank)
        self._told[rank] = phase
        spread = {f"{name}_share": part for name, part in _spread(parts, cost).items()}
        return Finding(
            kind="straggler",
            cause=self._cause(rank, phase, step),
            since_step=min(one.since for one in holding.values()),
            found_step=step.number,
            rank=rank,
            phase=phase,
            share=cost,
            numbers={
                "excess_seconds": cost * seconds,
                "step_seconds": seconds,
                "noise_share": self._steps[phase].noise.sigma,
                **(spread if len(spread) > 1 else {}),
            },
        )

    def _costliest(self, rank: int, holding: Mapping[str, Cusum], parts: Mapping[str, float]) -> str:
        """The phase in which most is lost; where none is slow enough by itself, a hiccup does not count."""
        phases = [name for name in holding if name != TOTAL]
        if phases or holding[TOTAL] is self._means[TOTAL].found(rank):
            return max(phases or parts, key=lambda name: parts.get(name, 0.0))
        return max(parts, key=lambda name: self._steps[name].ranks[rank].both)

    def _parts(self, rank: int) -> dict[str, float]:
        """By phase, what the rank works more (or less, below 0) than the others lately, as a share of the step:
        on the means of blocks where only these found it."""
        by_step = any(sums.found(rank) for sums in self._steps.values())
        table = self._steps if by_step else self._means
        sums = {name: table[name].ranks.get(rank) for name in WORK}
        return {name: one.level if by_step else one.last or 0.0 for name, one in sums.items() if one is not None}

    def _cause(self, rank: int, phase: str, step: JobStep) -> Cause:
        if phase == "data_wait":
            return "data"
        return "longer_batches" if self._has_longer_batches(rank, phase, step) else "compute"

    def _has_longer_batches(self, rank: int, phase: str, step: JobStep) -> bool:
        """Whether tokens explain its excess: where their number does not vary, what one costs was not learnt."""
        slope = self._slopes.get(phase)
        work, tokens = first(step, WORK[phase]), first(step, TOKENS)
        if slope is None or slope.slope > 0.0 or rank not in work or tokens.keys() != work.keys():
            return False
        more_work, more_tokens = (_beyond_ratio(rank, values) for values in (work, tokens))
        return more_tokens >= LONGER and 0.5 <= more_work / more_tokens <= 2.0


def _beyond_ratio(rank: int, values: Mapping[int, float]) -> float:
    """What the rank has more than the median of the others, of that."""
    more = dict(beyond_others(values))[rank]
    usual = values[rank] - more
    return more / usual if usual > 0.0 else 0.0


def _cost(holding: Mapping[str, Cusum]) -> float:
    """The largest mean: of a phase, or of the total, which is their sum."""
    return max((one.mean for one in holding.values()), default=0.0)


def _spread(parts: Mapping[str, float], cost: float) -> dict[str, float]:
    """The cost by phase, of those that have a tenth of it or more."""
    more = {name: part for name, part in parts.items() if part > 0.0}
    total = sum(more.values())
    return {name: part / total * cost for name, part in more.items() if part >= 0.1 * total}


def _is_waiting(phase: str, parts: Mapping[str, float]) -> bool:
    """Whether the rank's excess in this phase may be waiting for ranks that are slow in an earlier one, in which
    it works less than they by as much."""
    excess = parts.get(phase, 0.0)
    if sum(parts.values()) > (1.0 - MADE_UP) * excess:
        return False
    less = {name: -part for name, part in parts.items() if part < 0.0}
    place = CYCLE.index(phase)
    before = sum(less.get(name, 0.0) for name in CYCLE[:place])
    after = sum(less.get(name, 0.0) for name in CYCLE[place:])
    # A wait for backward may end after the all-reduce (sharded optimizers): who waits cannot be told.
    return before >= after or (phase in AFTER_MEETING and 2.0 * less.get("backward", 0.0) >= after)


def beyond_others(values: Mapping[int, float]) -> Iterator[tuple[int, float]]:
    """Each rank and its value less the median of the others'; two or more ranks."""
    order = sorted(values, key=values.__getitem__)
    ordered = [values[rank] for rank in order]
    left = len(ordered) - 1
    low, high = (left - 1) // 2, left // 2
    for place, rank in enumerate(order):
        # The two middle ones of the list without the element at `place`.
        yield rank, ordered[place] - (ordered[low + (low >= place)] + ordered[high + (high >= place)]) / 2
