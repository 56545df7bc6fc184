"""A run explained from the latest step records of its ranks, whoever holds them: agents or a tuner."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeGuard

from ..messages import RingReport, Window
from .endings import Fate
from .explanation import Explanation, RankState, explain, told
from .findings import Finding
from .hang import Progress
from .jobsteps import FieldValues
from .run import RunDiagnosis

MOST_RECORDS = 32768
"""Of all ranks together; bounds the time that a replay takes to a second or two."""
MOST_STEPS = 2048
LEAST_STEPS = 64


def steps_to_ask(ranks: int) -> int:
    """Records per rank that are enough for a verdict and not too many for a replay of so many ranks."""
    return max(LEAST_STEPS, min(MOST_STEPS, MOST_RECORDS // max(1, ranks)))


def replay(
    reports: Sequence[RingReport],
    progress: Mapping[int, Progress] | None = None,
    before: Iterable[Finding] = (),
) -> Explanation:
    """Of the newest attempt among the reports, which are of one run; several of one ring are one after the other.

    `progress`: where the ranks that live are now, None where nobody looked; `before`: what was found earlier, by
    whoever was there, kept as far as it is about steps before the first one replayed.
    Raises ValueError where there is no report.
    """
    attempt = max(report.attempt for report in reports)
    mine = [report for report in reports if report.attempt == attempt]
    world_size = max(report.world_size for report in mine)
    ranks: dict[int, list[RingReport]] = {}
    for report in mine:
        ranks.setdefault(report.rank, []).append(report)
    diagnosis = RunDiagnosis(len(ranks))
    diagnosis.expect(len(ranks), world_size)
    for report in mine:
        diagnosis.place(report.rank, report.node)
        if report.window is not None and report.window.evidence:
            diagnosis.saw(report.rank, report.window.evidence)
    records = sorted(
        (record for rank in ranks for record in _records(rank, ranks[rank])), key=lambda record: record[:3]
    )
    for _, _, rank, values in records:
        diagnosis.add(rank, values)
    fates = {rank: Fate().after(event for one in ranks[rank] for event in one.events) for rank in sorted(ranks)}
    states = [_state(rank, ranks[rank], fate, progress is not None) for rank, fate in fates.items()]
    for rank, fate in fates.items():
        diagnosis.heard(rank, fate)
    gone = {one.rank: fates[one.rank].ending(one.step) for one in states if fates[one.rank].word or one.lost}
    places = progress or {}
    diagnosis.stands(places, everyone=len(places) + len(gone) >= world_size, gone=gone)
    first = records[0][1] if records else 0.0
    earlier = [finding for finding in before if finding.since_step < first]
    return explain(diagnosis, mine[0].run_id, attempt, world_size, states, earlier)


def _state(rank: int, reports: Sequence[RingReport], fate: Fate, seen: bool) -> RankState:
    """Of one rank, all reports on it taken together; `seen`: somebody looked whether it lives."""
    events = [event for report in reports for event in report.events]
    alive = any(report.alive for report in reports)
    step = next((int(step) for _, step, _, _ in _records(rank, reports)), None)
    lost = seen and not alive and not fate.word
    return RankState(rank, reports[-1].node, alive, told(events), lost, step)


def values_of(window: Window, first: int) -> Iterator[FieldValues]:
    """The known values of each record of a window from number `first` on."""
    for place in range(first - window.first, window.last - window.first + 1):
        yield {name: value for name, column in window.columns.items() if _is_known(value := column[place])}


def _records(rank: int, reports: Iterable[RingReport]) -> list[tuple[int, float, int, FieldValues]]:
    """Of each record: which training of the process it is of, from the latest one, step, rank and values; one
    without a step has no place."""
    windows = sorted((one.window for one in reports if one.window is not None), key=lambda window: window.first)
    rows = [values for one in windows for values in values_of(one, one.first) if "step" in values]
    training, found = 0, []
    for place in range(len(rows) - 1, -1, -1):
        step = rows[place]["step"]
        found.append((training, step, rank, rows[place]))
        # A single number that is too high is no training of its own.
        if place > 1 and step < min(rows[place - 1]["step"], rows[place - 2]["step"]):
            training -= 1
    return found


def _is_known(value: float | None) -> TypeGuard[float]:
    return value is not None and value - value == 0.0
