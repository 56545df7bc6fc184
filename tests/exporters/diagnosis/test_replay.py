from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from ring_histories import Story, history

from paceline_exporters.diagnosis.explanation import Explanation
from paceline_exporters.diagnosis.findings import Finding
from paceline_exporters.diagnosis.hang import Progress
from paceline_exporters.diagnosis.replay import MOST_RECORDS, MOST_STEPS, replay, steps_to_ask, values_of
from paceline_exporters.messages import Event, MessageError, RingReport, Window

SLOW = Story(1, ranks=4, step_seconds=0.5, fault="forward", slow_rank=3, by=0.2)


def reports(story: Story, piece: int = 512, **changes: Any) -> list[RingReport]:
    """A run on two nodes, in windows of so many records."""
    steps = list(history(story))
    found = []
    for rank in range(story.ranks):
        for first in range(0, len(steps), piece):
            rows = [step.ranks[rank] for step in steps[first : first + piece]]
            columns = {name: [row.get(name) for row in rows] for name in steps[0].ranks[rank]}
            identity = RingReport(f"{rank:032x}", "run-1", rank, story.ranks, 0, f"node-{rank // 2}", True, 1)
            window = Window(first, first + len(rows) - 1, columns)
            found.append(replace(identity, window=window, **changes))
    return found


def straggler(told: Explanation) -> tuple[int | None, str, str]:
    finding = told.verdict.findings[0]
    return finding.rank, finding.node, finding.phase


def test_a_slow_rank_is_named_across_nodes_whatever_the_order_of_reports() -> None:
    shuffled = reports(SLOW, piece=37)
    random.Random(1).shuffle(shuffled)
    assert straggler(replay(shuffled)) == straggler(replay(reports(SLOW))) == (3, "node-1", "forward")


def test_clocks_play_no_part() -> None:
    skewed = [
        replace(one, window=replace(one.window, columns={**one.window.columns, "wall": [1e9 * one.rank] * 300}))
        for one in reports(SLOW)
        if one.window is not None
    ]
    assert straggler(replay(skewed)) == (3, "node-1", "forward")


def test_half_of_the_ranks_is_half_of_the_truth_and_says_so() -> None:
    told = replay([one for one in reports(SLOW) if one.rank < 2])
    assert not [one for one in told.verdict.findings if one.kind == "straggler"]
    assert told.unseen == [2, 3]
    assert told.missing[0].startswith("Of 2 ranks nothing is seen from here (2, 3): one of them ")
    missing = replay([one for one in reports(SLOW) if one.rank < 3]).missing
    assert missing[0] == "Of 1 rank nothing is seen from here (3): it may be the slow one."


def test_evidence_names_the_cause() -> None:
    told = replay(
        [
            replace(one, window=replace(one.window, evidence={"gpu_throttled_ratio": 0.5 * (one.rank == 3)}))
            for one in reports(SLOW)
            if one.window is not None
        ]
    )
    assert told.verdict.findings[0].cause == "throttled_gpu"
    assert not any("GPU" in sentence for sentence in told.missing)


def test_only_the_newest_attempt_counts() -> None:
    before = reports(SLOW)
    told = replay([*before, *reports(replace(SLOW, fault="", steps=40), attempt=1)])
    assert (told.attempt, told.steps) == (1, (1, 40))
    assert told.verdict.kind == "compute_bound"


def test_two_trainings_of_the_same_processes_are_told_apart() -> None:
    again = [
        replace(one, window=replace(one.window, first=one.window.first + 300, last=one.window.last + 300))
        for one in reports(replace(SLOW, seed=2))
        if one.window is not None
    ]
    told = replay([*reports(replace(SLOW, fault="")), *again])
    assert straggler(told) == (3, "node-1", "forward")
    assert told.steps == (201, 300)
    assert [one.since_step >= SLOW.onset - 5 for one in told.history if one.kind == "straggler"] == [True]


def test_what_was_found_before_the_replayed_steps_is_kept() -> None:
    late = [replace(one, window=_from(one.window, 200)) for one in reports(SLOW)]
    old = Finding("regression", "unknown", since_step=50, found_step=60)
    new = Finding("straggler", "compute", since_step=250, found_step=255, rank=0)
    history = replay(late, before=[old, new]).history
    assert history[0] == old
    assert new not in history


def _from(window: Window | None, first: int) -> Window:
    assert window is not None
    columns = {name: values[first:] for name, values in window.columns.items()}
    return Window(first, window.last, columns)


def test_ranks_that_stand_still_are_the_verdict() -> None:
    places = {rank: Progress(300, "backward" if rank else "data_wait", 60.0) for rank in range(4)}
    told = replay(reports(SLOW), places)
    assert told.verdict.kind == "hung"
    assert [one.rank for one in told.verdict.findings if one.kind == "hang"] == [0]


def test_a_rank_that_was_killed_is_told_where_somebody_looked() -> None:
    killed = [replace(one, alive=one.rank != 2) for one in reports(replace(SLOW, fault=""))]
    places = {rank: Progress(300, "backward", 12.0) for rank in (0, 1, 3)}
    told = replay(killed, places)
    assert told.verdict.kind == "hung"
    assert told.verdict.summary.startswith("Rank 2 on node-1 ended without a word at step 300 (killed?). ")
    assert [(one.rank, one.step) for one in told.ranks if one.lost] == [(2, 300)]
    assert Explanation.decode(json.loads(json.dumps(told.encode()))).ranks == told.ranks
    assert not any(one.lost for one in replay(killed).ranks)
    ended = Event(1, "end", 1.0, 300.0, {"how": "finished"})
    told = replay([replace(one, events=() if one.alive else (ended,)) for one in killed], places)
    assert not any(one.lost for one in told.ranks)
    assert told.verdict.summary.startswith(
        "Rank 2 on node-1 ended at step 300 (finished). The others have waited "
    )


def test_how_ranks_failed_is_told_by_their_words_where_nobody_looked() -> None:
    failed = (
        Event(1, "nan", 1.0, 290.0, {"loss": "nan"}),
        Event(2, "exception", 2.0, 300.0, {"type": "ValueError"}),
        Event(3, "end", 2.0, 300.0, {"how": "exception"}),
    )
    told = replay([replace(one, alive=False, events=failed if one.rank == 1 else ()) for one in reports(SLOW)])
    assert told.verdict.summary.startswith(
        "Rank 1 on node-0 failed at step 300 (ValueError). "
        "Rank 1 on node-0 met the first loss that is not finite at step 290. Rank 3 on node-1 costs "
    )


def test_a_json_round_trip_changes_nothing() -> None:
    event = Event(3, "exception", 1.0, 12.0, {"type": "ValueError"})
    told = replay(reports(SLOW, events=(event,)))
    again = Explanation.decode(json.loads(json.dumps(told.encode())))
    assert again.encode() == json.loads(json.dumps(told.encode()))
    assert again.ranks[0].events == [event]
    assert again.verdict.findings[0].cause == "compute"


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "fine"},
        {"verdict": {"kind": "healthy", "findings": []}},
        {"ranks": [3]},
        {"history": [{"kind": "straggler"}]},
        {"evidence": {"0": 1}},
        {"world_size": None},
    ],
)
def test_what_is_no_explanation_is_refused(change: dict[str, Any]) -> None:
    encoded = json.loads(json.dumps(replay(reports(replace(SLOW, steps=3))).encode()))
    with pytest.raises(MessageError):
        Explanation.decode({**encoded, **change})


def test_what_is_not_known_is_not_in_the_values() -> None:
    window = Window(10, 12, {"step": [1, 2, 3], "loss": [None, 2.5, float("nan")]})
    assert list(values_of(window, 11)) == [{"step": 2, "loss": 2.5}, {"step": 3}]


def test_few_steps_and_fields_that_are_unknown_are_said() -> None:
    bare: Sequence[RingReport] = reports(Story(1, ranks=2, steps=12, step_seconds=0.5, backward_split=False))
    missing = " ".join(replay(bare).missing)
    assert "12 are known" in missing
    assert "split into work and waiting" not in missing  # DDP says it in the first steps
    missing = " ".join(
        replay(reports(Story(1, ranks=2, steps=200, step_seconds=0.5, backward_split=False))).missing
    )
    assert "split into work and waiting in 1 of 100 steps only" in missing


def test_a_replay_is_bounded() -> None:
    assert steps_to_ask(1) == steps_to_ask(8) == MOST_STEPS
    assert steps_to_ask(256) * 256 <= MOST_RECORDS
