from __future__ import annotations

import pytest

from paceline_exporters.diagnosis.endings import Ending, last_word, waited_for, with_gone
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
    assert last_word(events, before) == word
    assert last_word([*events, Event(9, "end", 1.0, 3.0, {"how": "exception"})]) == "exception"


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
        "Rank 1 ended at step 30 (exception). Rank 2 ended without a word at step 31 (killed?). "
        "The others have waited for 16 s, in backward."
    )
    assert with_gone(HEALTHY, {0: Ending(30, "finished")}, {}) is HEALTHY
