from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from paceline_agent.sampler import TURN_SECONDS, Sampler
from paceline_exporters.metrics import Family, Samples, exposition

LOSS = Family("paceline_loss", "Loss.", "gauge")


class Source:
    """A source that does what the test says."""

    name = "test"
    period_seconds = 10.0
    deadline_seconds = 5.0
    families = (LOSS,)

    def __init__(self, look: Callable[[], float]) -> None:
        self._look = look
        self.problem: Exception | None = None
        self.closed = False

    def sample(self) -> Samples:
        samples = Samples()
        samples.add(LOSS, self._look())
        samples.problem = self.problem
        return samples

    def close(self) -> None:
        self.closed = True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def failing(error: Exception) -> Callable[[], float]:
    def look() -> float:
        raise error

    return look


def test_a_good_sample(clock: Clock) -> None:
    sampler = Sampler(Source(lambda: 2.5), 10, clock)
    assert (sampler.success, sampler.fresh(), sampler.age_seconds()) == (None, None, None)
    sampler.sample_once()
    section = sampler.fresh()
    assert section is not None
    assert exposition([section], "text").endswith(b"\npaceline_loss 2.5\n")
    assert (sampler.success, sampler.age_seconds()) == (True, 0.0)


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (PermissionError(13, "no"), "permission"),
        (FileNotFoundError(2, "no"), "missing"),
        (OSError(5, "no"), "io"),
        (ValueError("no"), "bug"),
    ],
)
def test_a_failure_is_counted_by_class(clock: Clock, error: Exception, counted: str) -> None:
    sampler = Sampler(Source(failing(error)), 10, clock)
    sampler.sample_once()
    assert sampler.success is False
    assert {name for name, count in sampler.failures.items() if count} == {counted}


def test_a_sample_is_served_until_it_is_stale(clock: Clock) -> None:
    sampler = Sampler(Source(lambda: 1.0), 10, clock)
    sampler.sample_once()
    clock.now += 20.0
    assert sampler.fresh() is not None
    clock.now += 0.1
    assert sampler.fresh() is None
    assert sampler.age_seconds() == pytest.approx(20.1)


def test_a_sample_that_comes_too_late_is_served_but_no_success(clock: Clock) -> None:
    def slow() -> float:
        clock.now += 6.0
        return 1.0

    sampler = Sampler(Source(slow), 10, clock)
    sampler.sample_once()
    assert sampler.success is False
    assert sampler.failures["deadline"] == 1
    assert sampler.fresh() is not None


@pytest.fixture
def release() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_a_source_that_hangs_is_seen_while_it_hangs_and_counted_once(
    clock: Clock, release: threading.Event
) -> None:
    entered = threading.Event()

    def hang() -> float:
        entered.set()
        release.wait()
        return 1.0

    sampler = Sampler(Source(hang), 10, clock)
    sampler.start()
    entered.wait(30)
    sampler.check_deadline()
    assert sampler.success is None
    clock.now += 5.1
    sampler.check_deadline()
    sampler.check_deadline()
    assert sampler.success is False
    assert sampler.failures["deadline"] == 1
    release.set()
    assert sampler.done.wait(30)
    sampler.stop()


def test_it_recovers(clock: Clock) -> None:
    values = iter([1.0])
    sampler = Sampler(Source(lambda: next(values)), 10, clock)
    sampler.sample_once()
    values = iter([])
    sampler.sample_once()
    assert sampler.success is False
    values = iter([2.0])
    sampler.sample_once()
    assert sampler.success is True


def test_a_sample_with_a_problem_is_served_and_counts_as_failed(clock: Clock) -> None:
    source = Source(lambda: 1.0)
    source.problem = OSError(5, "one port of two")
    sampler = Sampler(source, 10, clock)
    sampler.sample_once()
    assert (sampler.success, sampler.failures["io"]) == (False, 1)
    assert sampler.fresh() is not None
    source.problem = None
    sampler.sample_once()
    assert sampler.success is True


def test_a_source_is_closed_after_its_last_sample() -> None:
    source = Source(lambda: 1.0)
    sampler = Sampler(source, 10)
    sampler.start()
    assert sampler.done.wait(60)
    sampler.stop()
    assert source.closed


def test_sources_that_are_due_together_take_turns(clock: Clock) -> None:
    samplers = [Sampler(Source(lambda: 1.0), 10, clock, turn) for turn in range(3)]
    for clock.now in (100.7, 103.9, 107.1):
        due = [clock.now + one.rest_seconds() for one in samplers]
        assert due == pytest.approx([110.0, 110.0 + TURN_SECONDS, 110.0 + 2 * TURN_SECONDS], abs=1e-9)
    clock.now = 109.4  # what is due so soon was late itself, and rests all the same
    assert samplers[0].rest_seconds() == 10.0 / 4


def test_a_source_that_is_as_slow_as_its_period_is_sampled_as_often_as_it_can_be(clock: Clock) -> None:
    def look() -> float:
        clock.now += 9.0
        return 1.0

    sampler = Sampler(Source(look), 10, clock)
    clock.now = 101.5
    sampler.sample_once()
    assert sampler.rest_seconds() == 10.0 / 4
