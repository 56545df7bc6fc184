from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from paceline_exporters.sources.rdma.rounds import Rounds


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> Rounds[str]:
    made: Rounds[str] = Rounds(patience_seconds=30.0, limit_seconds=60.0)
    request.addfinalizer(made.close)
    return made


def answer(text: str) -> Callable[[], str]:
    return lambda: text


def test_all_are_called_in_one_thread_that_is_kept() -> None:
    rounds: Rounds[threading.Thread] = Rounds(patience_seconds=30.0, limit_seconds=60.0)
    threads = set()
    for _ in range(3):
        outcomes = rounds.run({"a": threading.current_thread, "b": threading.current_thread})
        assert list(outcomes) == ["a", "b"]
        threads |= set(outcomes.values())
    rounds.close()
    (reader,) = threads
    assert isinstance(reader, threading.Thread)
    assert reader is not threading.current_thread()
    reader.join(30)
    assert not reader.is_alive()


def test_what_a_call_raises_is_its_own(rounds: Rounds[str]) -> None:
    def fail() -> str:
        raise LookupError("a")

    outcomes = rounds.run({"a": fail, "b": answer("B")})
    assert isinstance(outcomes["a"], LookupError)
    assert outcomes["b"] == "B"


def test_one_that_hangs_costs_itself_until_it_returns() -> None:
    rounds: Rounds[str] = Rounds(patience_seconds=2.0, limit_seconds=30.0)
    release, returned = threading.Event(), threading.Event()

    def hang() -> str:
        release.wait()
        returned.set()
        return "late"

    for _ in range(3):
        outcomes = rounds.run({"a": answer("A"), "bad": hang, "b": answer("B")})
        assert isinstance(outcomes.pop("bad"), TimeoutError)
        assert outcomes == {"a": "A", "b": "B"}
        assert rounds.stuck() == {"bad"}
    release.set()
    assert returned.wait(30)
    while rounds.stuck():
        returned.wait(0.01)
    assert rounds.run({"bad": answer("back")}) == {"bad": "back"}
    rounds.close()


def test_many_that_hang_are_bounded_by_the_limit() -> None:
    rounds: Rounds[bool] = Rounds(patience_seconds=0.1, limit_seconds=0.15)
    release = threading.Event()
    calls = dict.fromkeys("abcdef", release.wait)
    outcomes = rounds.run(calls)
    assert all(isinstance(outcome, TimeoutError) for outcome in outcomes.values())
    assert 1 <= len(rounds.stuck()) < len(calls)
    release.set()
    rounds.close()
