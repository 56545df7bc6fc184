from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from paceline_agent.reporter import Pace, Reporter
from paceline_agent.spool import Spool
from paceline_exporters.messages import Report

MakeReporter = Callable[..., Reporter]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def made() -> AsyncIterator[list[Reporter]]:
    """Reporters to close after the test."""
    reporters: list[Reporter] = []
    yield reporters
    for one in reporters:
        await one.close()
        one.spool.close()


@pytest.fixture
def reporter(tuner: Any, rings: Path, tmp_path: Path, clock: Clock, made: list[Reporter]) -> MakeReporter:
    def make(spool_bytes: int = 2**24, **pace: Any) -> Reporter:
        spool = Spool(tmp_path / "spool", spool_bytes)
        made.append(Reporter(tuner.url, "node-a", rings, spool, Pace(**pace), clock))
        return made[-1]

    return make


def steps(first: int, last: int) -> list[dict[str, float]]:
    return [{"step": number, "step_seconds": 0.5} for number in range(first, last + 1)]


async def test_what_is_new_is_sent_once(tuner: Any, trainer: Any, reporter: MakeReporter) -> None:
    writer, one = trainer(), reporter()
    writer.steps(*steps(1, 3))
    writer.event("start")
    await one.tick()
    await one.tick()
    writer.steps(*steps(4, 5))
    await one.tick()
    assert tuner.records(writer.ring) == [0, 1, 2, 3, 4]
    assert len(tuner.reports) == 2
    first: Report = tuner.reports[0]
    assert (first.reporter, first.node) == ("agent", "node-a")
    assert first.rings[0].header is not None and tuner.reports[1].rings[0].header is None
    assert [event.kind for event in first.rings[0].events] == ["start"]
    assert one.results["accepted"] == 2


async def test_many_records_go_in_reports_of_bounded_size(
    tuner: Any, trainer: Any, reporter: MakeReporter
) -> None:
    writers = [trainer(rank=rank) for rank in range(2)]
    for writer in writers:
        writer.steps(*steps(1, 100))
    await reporter(records_per_ring=32, records_per_report=40).tick()
    assert [tuner.records(writer.ring) for writer in writers] == [list(range(100))] * 2
    assert all(len(report.rings) == 1 for report in tuner.reports[:6])


async def test_the_death_of_a_rank_is_told(tuner: Any, trainer: Any, reporter: MakeReporter) -> None:
    writer, one = trainer(), reporter()
    await one.tick()
    writer.kill()
    await one.tick()
    await one.tick()
    assert [report.rings[0].alive for report in tuner.reports] == [True, False]


async def test_an_unknown_run_is_left_alone_for_a_while(
    tuner: Any, trainer: Any, reporter: MakeReporter, clock: Clock
) -> None:
    writer, one = trainer(), reporter()
    tuner.unknown_runs.add("run-1")
    for _ in range(3):
        writer.steps(*steps(1, 1))
        await one.tick()
    assert len(tuner.reports) == 1
    clock.now += 301.0
    await one.tick()
    assert len(tuner.reports) == 2


async def test_one_refused_run_does_not_hold_up_others(tuner: Any, trainer: Any, reporter: MakeReporter) -> None:
    good, bad = trainer(run_id="good"), trainer(run_id="bad")
    tuner.refused_runs.add("bad")
    one = reporter()
    for writer in (good, bad):
        writer.steps(*steps(1, 2))
    await one.tick()
    await one.tick()
    assert tuner.records(good.ring) == [0, 1]
    assert one.results["rejected"] == 1


async def test_while_the_tuner_is_away_the_ring_is_the_buffer(
    tuner: Any, trainer: Any, reporter: MakeReporter
) -> None:
    writer, one = trainer(), reporter(spool_after_records=10)
    tuner.status = 503
    writer.steps(*steps(1, 9))
    await one.tick()
    assert len(one.spool) == 0
    writer.steps(*steps(10, 10))
    await one.tick()
    assert len(one.spool) == 1
    assert one.results["failed"] == 1, "no second try before its time"


async def test_spooled_reports_come_first_and_in_order(
    tuner: Any, trainer: Any, reporter: MakeReporter, clock: Clock
) -> None:
    writer, one = trainer(), reporter(spool_after_records=1)
    await tuner.stop()
    for number in range(1, 6):
        writer.steps(*steps(number, number))
        await one.tick()
    assert len(one.spool) == 5
    await tuner.start()
    clock.now += 100.0
    writer.steps(*steps(6, 6))
    await one.tick()
    assert tuner.records(writer.ring) == [0, 1, 2, 3, 4, 5]
    assert [ring.window.first for report in tuner.reports for ring in report.rings if ring.window] == [
        0,
        1,
        2,
        3,
        4,
        5,
    ]
    assert len(one.spool) == 0
    assert one.results["replayed"] == 5


async def test_news_wait_until_the_spool_is_empty(
    tuner: Any, trainer: Any, reporter: MakeReporter, clock: Clock
) -> None:
    writer, one = trainer(), reporter(spool_after_records=1, rounds=2)
    tuner.status = 500
    for number in range(1, 6):
        writer.steps(*steps(number, number))
        await one.tick()
    tuner.status = 200
    clock.now += 100.0
    for _ in range(3):
        writer.steps(*steps(9, 9))
        await one.tick()
    for _ in range(3):
        await one.tick()
    records = tuner.records(writer.ring)
    assert records == list(range(8))


async def test_a_restarted_agent_goes_on_from_its_spool(
    tuner: Any, trainer: Any, reporter: MakeReporter, clock: Clock, made: list[Reporter]
) -> None:
    writer, one = trainer(), reporter(spool_after_records=1)
    tuner.status = 500
    writer.steps(*steps(1, 5))
    await one.tick()
    await one.close()
    one.spool.close()
    made.remove(one)
    two = reporter(spool_after_records=1)
    await two.tick()
    assert len(two.spool) == 1, "nothing is spooled twice"
    tuner.status = 200
    clock.now += 100.0
    writer.steps(*steps(6, 6))
    await two.tick()
    assert tuner.records(writer.ring) == [0, 1, 2, 3, 4, 5]


async def test_a_spool_that_drops_its_oldest_says_so(tuner: Any, trainer: Any, reporter: MakeReporter) -> None:
    writer, one = trainer(), reporter(spool_after_records=1, spool_bytes=2000)
    tuner.status = 500
    for number in range(1, 20):
        writer.steps(*steps(number, number))
        await one.tick()
    assert one.spool.dropped > 0
    assert one.spool.size <= 2000


async def test_a_spool_that_cannot_be_written_is_counted(
    tuner: Any, trainer: Any, reporter: MakeReporter, clock: Clock
) -> None:
    writer, one = trainer(), reporter(spool_after_records=1)
    tuner.status = 500
    writer.steps(*steps(1, 2))
    (one.spool.directory / "lock").unlink()
    one.spool.directory.rmdir()
    await one.tick()
    assert one.results["spool_failed"] == 1
    tuner.status = 200
    clock.now += 100.0
    await one.tick()
    assert tuner.records(writer.ring) == [0, 1], "the ring still had it"


@pytest.mark.parametrize("status", [301, 401, 404, 500])
async def test_other_answers_mean_away(tuner: Any, trainer: Any, reporter: MakeReporter, status: int) -> None:
    trainer().steps(*steps(1, 1))
    one = reporter()
    tuner.status = status
    await one.tick()
    assert one.results["failed"] == 1


async def test_backoff_grows_and_is_bounded(
    tuner: Any, trainer: Any, reporter: MakeReporter, clock: Clock
) -> None:
    trainer().steps(*steps(1, 1))
    one = reporter(backoff_seconds=(1.0, 4.0))
    tuner.status = 500
    tries = []
    for _ in range(200):
        before = one.results["failed"]
        await one.tick()
        if one.results["failed"] > before:
            tries.append(clock.now)
        clock.now += 0.25
    gaps = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert gaps[0] <= 1.25
    assert max(gaps) <= 4.25
    assert min(gaps[3:]) >= 2.0


async def test_a_refused_run_in_the_spool_costs_only_itself(
    tuner: Any, trainer: Any, reporter: MakeReporter, clock: Clock
) -> None:
    good, bad = trainer(run_id="good"), trainer(run_id="bad")
    one = reporter(spool_after_records=1)
    tuner.status = 500
    for writer in (good, bad):
        writer.steps(*steps(1, 2))
    await one.tick()
    assert len(one.spool) == 1
    tuner.status = 200
    tuner.refused_runs.add("bad")
    clock.now += 100.0
    await one.tick()
    assert tuner.records(good.ring) == [0, 1]
    assert (one.results["rejected"], len(one.spool)) == (1, 0)
