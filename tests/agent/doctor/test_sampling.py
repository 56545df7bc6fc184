from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

from paceline_agent.doctor.sampling import ROUNDS, Sampled, sample_all
from paceline_exporters.metrics import Family, Samples

UP = Family("paceline_sample_up", "For tests.", "gauge")
LOST = Family("paceline_sample_lost_total", "For tests.", "counter", "", ("device",))


class Machine:
    """A source that does as it is told."""

    period_seconds = 1.0
    deadline_seconds = 0.3
    families = (UP, LOST)

    def __init__(self, name: str, error: Exception | None = None, problem: Exception | None = None) -> None:
        self.name = name
        self.rounds, self.closed = 0, 0
        self.threads: set[int] = set()
        self._error, self.problem = error, problem

    def sample(self) -> Samples:
        self.rounds += 1
        self.threads.add(threading.get_ident())
        if self._error is not None:
            raise self._error
        samples = Samples()
        samples.add(UP, 1)
        samples.add(LOST, 3, "a")
        samples.add(LOST, None, "b")
        samples.problem = self.problem
        return samples

    def close(self) -> None:
        self.closed += 1


class Wedged(Machine):
    """Does not come back until it is released."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.release = threading.Event()

    def sample(self) -> Samples:
        self.rounds += 1
        self.release.wait()
        return Samples()


def test_values_of_a_source() -> None:
    source = Machine("good")
    sampled = sample_all([source], seconds=30)["good"]
    assert (source.rounds, source.closed) == (ROUNDS, 1)
    assert len(source.threads) == 1, "a child of its may be bound to the thread that started it"
    assert sampled.one(UP) == 1
    assert sampled.of(LOST) == {("a",): 3}, "what is unknown is not there"
    assert sampled.problem is None


def test_a_problem_is_told_with_what_was_seen() -> None:
    sampled = sample_all([Machine("wrong", problem=ValueError("one of 8 lost"))], seconds=30)["wrong"]
    assert (sampled.one(UP), str(sampled.problem)) == (1, "one of 8 lost")


def test_it_looks_until_all_is_seen() -> None:
    source = Machine("good")
    told: list[float | None] = []

    def settled(sampled: Mapping[str, Sampled], _seconds: float) -> bool:
        told.append(sampled["good"].one(UP))
        return len(told) == 3

    sample_all([source], 30, settled)
    assert (source.rounds, told) == (ROUNDS + 2, [1, 1, 1])


def test_but_no_longer_than_asked() -> None:
    source = Machine("good")
    sample_all([source], 1.2, lambda *_: False)
    assert ROUNDS <= source.rounds <= ROUNDS + 3


def test_a_source_that_raises() -> None:
    sampled = sample_all([Machine("bad", error=PermissionError("no"))], seconds=30)["bad"]
    assert isinstance(sampled.problem, PermissionError)
    assert sampled.one(UP) is None and sampled.of(LOST) == {}


def test_a_source_that_hangs_is_left_behind_and_never_asked_twice_at_once() -> None:
    wedged, good = Wedged("wedged"), Machine("good")
    sampled = sample_all([wedged, good], seconds=3)
    wedged.release.set()
    assert isinstance(sampled["wedged"].problem, TimeoutError)
    assert (wedged.rounds, wedged.closed) == (1, 0)
    assert (good.rounds, good.closed) == (ROUNDS, 1)
    assert sampled["good"].problem is None


def test_a_number_of_a_family_with_labels_is_asked_for_by_them() -> None:
    sampled = sample_all([Machine("good")], seconds=30)["good"]
    assert sampled.one(LOST) is None
    with pytest.raises(KeyError):
        sampled.of(LOST)["b",]
