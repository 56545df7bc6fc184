from __future__ import annotations

from typing import Any

import pytest

from paceline_agent.diagnosis.asking import Steps
from paceline_exporters.diagnosis.hang import Progress
from paceline_exporters.messages import MessageError

PLACE = {"step": 40, "phase": "forward", "seconds": 12}


def decoded(**changes: Any) -> Progress:
    places = {"3": {**PLACE, **changes}}
    answer = {"schema": 1, "reporter": "agent", "node": "n", "rings": [], "progress": places}
    return Steps.decode(answer).progress[3]


def test_where_a_rank_is() -> None:
    assert decoded(step_age=15) == Progress(40, "forward", 12.0, 15.0)
    assert decoded(step_age=None) == Progress(40, "forward", 12.0)


def test_an_older_agent_does_not_say_when_the_latest_step_ended() -> None:
    assert decoded() == Progress(40, "forward", 12.0)


def test_what_is_no_place_is_refused() -> None:
    with pytest.raises(MessageError):
        decoded(step_age="long")
