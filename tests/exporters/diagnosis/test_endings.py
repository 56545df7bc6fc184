from __future__ import annotations

import pytest

from paceline_exporters.diagnosis.endings import Ending, Fate, waited_for, with_gone, with_loss
from paceline_exporters.diagnosis.findings import Finding, Verdict
from paceline_exporters.messages import Event

HEALTHY = Verdict("healthy", "All is well.", "Nothing.")


@pytest.mark.parametrize(
    ("kinds", "before", "word"),
    [
        ((), "", ""),
        ((), "finished", "finished"),
        (("start", "first_step", "checkpoint"), "", ""),
        (("first_step", "exception"), "", "exception"),
        (("start", "rejected"), "", "rejected"),
        (("end", "first_step"), "", ""),
        (("first_step",), "finished", ""),
    ],
)
def test_training_ends_with_its_word_until_it_begins_again(
    kinds: tuple[str, ...], before: str, word: str
) -> None:
    events = [Event(number, kind, 1.0, None, {}) for number, kind in enumerate(kinds)]
    told = Fate(before).after(events)
    assert told.word == word
    assert told.after([Event(9, "end", 1.0, 3.0, {"how": "exception"})]).word == "exception"


def test_ranks_that_were_killed_come_before_the_verdict() -> None:
    assert with_gone(HEALTHY, {}, {}) is HEALTHY
    told = with_gone(
        HEALTHY, {1: Ending(30), 2: Ending(29), 3: Ending(30), 4: Ending(28, "finished")}, {2: "node-b"}
    )
    assert told.summary == (
        "Rank 2 on node-b ended without a word at step 29 (killed?). "
        "Ranks 1, 3 ended without a word at step 30 (killed?). All is well."
    )
    assert told.advice.startswith("See how rank 2 ended")
    told = with_gone(HEALTHY, dict.fromkeys(range(100), Ending(7)), {})
    assert told.summary.startswith("Ranks 0, 1, 2, 3, 4, 5, 6, 7 and 92 more ended without a word at step 7 ")


def test_the_others_wait_for_one_that_was_killed() -> None:
    hang = Finding("hang", "unknown", 31, 31, rank=1, phase="backward", numbers={"silent_seconds": 16.2})
    told = with_gone(Verdict("hung", "?", "?", findings=[hang]), {1: Ending(30)}, {1: "node-a"})
    assert told.summary == (
        "Rank 1 on node-a ended without a word at step 30 (killed?). "
        "The others have waited for 16 s, in backward."
    )
    assert told.advice.startswith("See how rank 1 ended")
    assert told.advice.endswith("waits for ever.")


def test_who_ended_before_the_first_step_has_no_step() -> None:
    assert str(Ending(0)) == "ended without a word before its first step (killed?)"


def test_the_others_wait_for_one_that_ended_by_its_own_word_too() -> None:
    gone = {0: Ending(30, "finished"), 1: Ending(30, "exception"), 2: Ending(31)}
    assert waited_for(gone) == 1
    hang = Finding("hang", "unknown", 31, 31, rank=1, phase="backward", numbers={"silent_seconds": 16.2})
    told = with_gone(Verdict("hung", "?", "?", findings=[hang]), gone, {})
    assert told.summary == (
        "Rank 1 failed at step 30 (exception). Rank 2 ended without a word at step 31 (killed?). "
        "The others have waited for 16 s, in backward."
    )
    assert with_gone(HEALTHY, {0: Ending(30, "finished")}, {}) is HEALTHY


def event(kind: str, step: float, at: float = 1.0, **detail: str) -> Event:
    return Event(0, kind, at, step, detail)


def failed(step: int, error: str, at: float = 1.0) -> Ending:
    told = (event("exception", step, at, type=error), event("end", step, at, how="exception"))
    return Fate().after(told).ending(step)


def test_what_failed_first_comes_before_the_verdict_and_before_what_it_led_to() -> None:
    gone = {0: failed(40, "RuntimeError", 7.2), 1: failed(40, "ValueError", 7.1), 2: Ending(40), 3: Ending(40)}
    told = with_gone(HEALTHY, gone, {1: "node-a"})
    assert told.summary == (
        "Rank 1 on node-a failed at step 40 (ValueError). Rank 0 failed at step 40 (RuntimeError). "
        "Ranks 2, 3 ended without a word at step 40 (killed?). All is well."
    )
    assert told.advice == "Read the traceback of rank 1 in the job's own log."
    told = with_gone(HEALTHY, {**gone, 3: Ending(39)}, {})
    assert told.summary.startswith("Rank 3 ended without a word at step 39 (killed?). Rank 1 failed ")
    assert told.advice.startswith("See how rank 3 ended")
    told = with_gone(HEALTHY, {rank: failed(0, "ImportError", 9.0 - rank) for rank in range(3)}, {})
    assert told.summary == "Ranks 0, 1, 2 failed before its first step (ImportError). All is well."


def test_an_allocation_that_failed_ends_a_rank_only_where_it_says_so() -> None:
    caught = Fate().after([event("oom", 3, type="OutOfMemoryError"), event("end", 9, how="exit")])
    assert not caught.ending(9).failed
    ended = Fate().after([event("oom", 3, type="OutOfMemoryError"), event("end", 3, how="oom")])
    assert str(ended.ending(3)) == "failed at step 3 (OutOfMemoryError)"


def test_the_first_loss_that_is_not_finite_is_told() -> None:
    fates = {0: Fate(), 1: Fate().after([event("nan", 31), event("nan", 99)]), 2: Fate(nan_step=30.0)}
    told = with_loss(HEALTHY, fates, {2: "node-b"})
    assert told.summary == "Rank 2 on node-b met the first loss that is not finite at step 30. All is well."
    assert told.advice.startswith("See first whether the loss is finite again")
    assert with_loss(HEALTHY, {0: Fate()}, {}) is HEALTHY


def test_another_training_begins_with_a_finite_loss() -> None:
    first = Fate().after([event("nan", 1), event("first_step", 1)])
    assert first.nan_step == 1
    assert first.after([event("exception", 4, type="E"), event("first_step", 5)]) == Fate()
