"""The runs as `top` follows them, fed with what agents answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from ring_histories import Story, history

from paceline_agent.diagnosis.asking import Steps
from paceline_agent.top.live import RECENT_STEPS, LiveRun
from paceline_exporters.diagnosis.hang import Progress
from paceline_exporters.messages import RingReport, Window

SLOW = Story(1, ranks=4, step_seconds=0.5, fault="forward", slow_rank=3, by=0.2)


def steps(
    story: Story, ranks: Iterable[int], first: int, stop: int, attempt: int = 0, alive: bool = True
) -> Steps:
    """Records `first` to `stop` - 1 of some ranks."""
    told = [step for step in history(story) if first < step.number <= stop]
    reports = []
    for rank in ranks:
        columns = {name: [step.ranks[rank].get(name) for step in told] for name in told[0].ranks[rank]}
        evidence = {"gpu_throttled_ratio": 0.5 * (rank == 3)}
        window = Window(first, stop - 1, columns, evidence)
        ring, node = f"{attempt}/{rank}", f"node-{rank // 2}"
        reports.append(RingReport(ring, "run-1", rank, story.ranks, attempt, node, alive, 1, window=window))
    return Steps(reports, {rank: Progress(stop, "", 0.1) for rank in ranks})


def test_ranks_of_two_agents_are_one_run() -> None:
    run = LiveRun("run-1")
    for stop in range(20, 301, 20):  # windows overlap, as an agent's answers do
        run.take({name: steps(SLOW, ranks, max(0, stop - 30), stop) for name, ranks in BOTH.items()})
    assert run.diagnosis.stragglers.keys() == {3}
    assert run.diagnosis.verdict().findings[0].cause == "throttled_gpu"
    assert (run.ranks[3].node, run.ranks[3].agent, run.ranks[3].step) == ("node-1", "http://b", 300)


BOTH = {"http://a": (0, 1), "http://b": (2, 3)}


def test_an_agent_that_answers_later_does_not_spoil_it() -> None:
    run = LiveRun("run-1")
    for stop in range(20, 301, 20):
        for name, ranks in BOTH.items():  # one after the other
            run.take({name: steps(SLOW, ranks, max(0, stop - 30), stop)})
    assert run.diagnosis.stragglers.keys() == {3}


def test_records_count_once() -> None:
    run = LiveRun("run-1")
    for _ in range(3):
        run.take({"http://a": steps(SLOW, (0,), 0, 12)})
    rank = run.ranks[0]
    assert len(rank.recent) == 12
    run.take({"http://a": steps(SLOW, (0,), 0, 100)})
    assert len(rank.recent) == RECENT_STEPS
    assert rank.step_seconds == pytest.approx(0.52, abs=0.05)
    assert rank.tokens_per_second == pytest.approx(4096 / 0.52, rel=0.1)
    assert sum(rank.shares().values()) == pytest.approx(1.0, abs=0.01)


def test_waiting_is_what_a_rank_does_in_its_latest_steps() -> None:
    run = LiveRun("run-1")
    for stop in (90, 130):  # rank 3 becomes slow at step 100; DDP measures in one step of 100
        run.take({"http://a": steps(replace(SLOW, by=0.4), range(4), 0, stop)})
        shares = [run.ranks[number].waiting for number in range(4)]
        usual = pytest.approx(0.08, abs=0.04)
        late = pytest.approx((0.4 + 0.08) / 1.4, abs=0.04)
        assert shares == ([usual] * 4 if stop == 90 else [late, late, late, pytest.approx(0.08 / 1.4, abs=0.02)])


def test_waiting_is_unknown_where_backward_is_not_split() -> None:
    run = LiveRun("run-1")
    run.take({"http://a": steps(replace(SLOW, backward_split=False), range(4), 0, 90)})
    assert run.ranks[0].waiting is None
    run.take({"http://a": steps(replace(SLOW, backward_split=False, fault=""), range(4), 0, 105)})
    assert run.ranks[0].waiting == pytest.approx(0.08, abs=0.04)  # of step 100, in which DDP measured it


def test_a_new_attempt_begins_anew() -> None:
    run = LiveRun("run-1")
    run.take({"http://a": steps(SLOW, range(4), 0, 300)})
    run.take({"http://a": steps(replace(SLOW, fault=""), (0, 1), 0, 10, attempt=1)})
    assert (sorted(run.ranks), run.diagnosis.stragglers, run.ranks[0].step) == ([0, 1], {}, 10)
    run.take({"http://b": steps(SLOW, (2, 3), 0, 300)})  # an agent that has not seen it yet
    assert sorted(run.ranks) == [0, 1]


def test_a_standstill_is_seen_across_agents_and_forgotten_with_the_agent() -> None:
    run = LiveRun("run-1")
    stuck = {name: steps(SLOW, ranks, 0, 30) for name, ranks in BOTH.items()}
    stuck = {
        name: replace(one, progress={rank: Progress(30, "forward", 60.0) for rank in one.progress})
        for name, one in stuck.items()
    }
    run.take(stuck)
    assert run.diagnosis.verdict().kind == "hung"
    for name in BOTH:
        run.lose(name)
    run.take({})
    assert run.diagnosis.verdict().kind != "hung"


def test_a_rank_without_steps_is_there_and_unknown() -> None:
    run = LiveRun("run-1")
    run.take({"http://a": Steps([RingReport("r", "run-1", 0, 1, 0, "node-0", True, 1)], {})})
    rank = run.ranks[0]
    assert (rank.step, rank.step_seconds, rank.tokens_per_second, rank.shares()) == (None, None, None, {})
    assert rank.waiting is None
