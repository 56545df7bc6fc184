from __future__ import annotations

import pytest

from paceline_exporters.diagnosis.endings import last_words, training_ended, with_lost
from paceline_exporters.diagnosis.findings import Finding, Verdict
from paceline_exporters.messages import Event

HEALTHY = Verdict("healthy", "All is well.", "Nothing.")


@pytest.mark.parametrize(
    ("kinds", "before", "ended"),
    [
        ((), False, False),
        ((), True, True),
        (("start", "first_step", "checkpoint"), False, False),
        (("first_step", "exception", "end"), False, True),
        (("start", "rejected"), False, True),
        (("end", "first_step"), False, False),
        (("first_step",), True, False),
    ],
)
def test_training_ends_with_its_word_until_it_begins_again(
    kinds: tuple[str, ...], before: bool, ended: bool
) -> None:
    events = [Event(number, kind, 1.0, None, {}) for number, kind in enumerate(kinds)]
    assert training_ended(events, before) == ended


def test_ranks_that_were_killed_come_before_the_verdict() -> None:
    assert with_lost(HEALTHY, {}, {}) is HEALTHY
    told = with_lost(HEALTHY, {1: 30, 2: 29, 3: 30}, {2: "node-b"})
    assert told.summary == (
        "Rank 2 on node-b ended without a word at step 29 (killed?). "
        "Ranks 1, 3 ended without a word at step 30 (killed?). All is well."
    )
    assert told.advice.startswith("See how rank 2 ended")
    told = with_lost(HEALTHY, dict.fromkeys(range(100), 7), {})
    assert told.summary.startswith("Ranks 0, 1, 2, 3, 4, 5, 6, 7 and 92 more ended without a word at step 7 ")


def test_the_others_wait_for_one_that_was_killed() -> None:
    hang = Finding("hang", "unknown", 31, 31, rank=1, phase="backward", numbers={"silent_seconds": 16.2})
    told = with_lost(Verdict("hung", "?", "?", findings=[hang]), {1: 30}, {1: "node-a"})
    assert told.summary == (
        "Rank 1 on node-a ended without a word at step 30 (killed?). "
        "The others have waited for 16 s, in backward."
    )
    assert told.advice.startswith("See how rank 1 ended")
    assert told.advice.endswith("waits for ever.")


def test_who_ended_before_the_first_step_has_no_step() -> None:
    assert last_words(None) == last_words(0) == "ended without a word before its first step (killed?)"
