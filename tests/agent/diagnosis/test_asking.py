from __future__ import annotations

from typing import Any

import pytest

from paceline_agent.diagnosis.asking import NoSuchRun, Steps, explain_by_agents
from paceline_agent.diagnosis.runs import KEEP_ENDED_SECONDS
from paceline_agent.peer import Peer, PeerError
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


class Agent(Peer):
    """One that has runs."""

    def __init__(self, *runs: str) -> None:
        super().__init__("node-1")
        self._runs = runs

    def json(self, path: str) -> dict[str, Any]:
        """Its listing."""
        assert path == "/v1/runs"
        return {"runs": [{"run_id": name} for name in self._runs]}


def test_who_does_not_answer_may_have_the_run() -> None:
    away = Peer("127.0.0.1:1")
    with pytest.raises(NoSuchRun) as refused:
        explain_by_agents([Agent("a", "b"), away], "c")
    assert str(refused.value) == (
        "no run 'c'; the runs there are: a, b; http://127.0.0.1:1: connection refused: start `paceline agent` "
        "there, or name another address with --agent; a run that ended over 5 minutes ago is explained from its "
        "files, on its node: --rings DIR"
    )
    assert KEEP_ENDED_SECONDS == 5 * 60


def test_a_run_that_ended_long_ago_is_in_its_files() -> None:
    with pytest.raises(NoSuchRun, match=r"there are no runs: .*--rings DIR"):
        explain_by_agents([Agent()], None)
    with pytest.raises(NoSuchRun, match=r"^which run\? There are a, b$"):
        explain_by_agents([Agent("b"), Agent("a")], None)


def test_where_no_agent_listens_one_is_to_be_started() -> None:
    with pytest.raises(PeerError, match=r"start `paceline agent` there, or .* --agent$"):
        explain_by_agents([Peer("127.0.0.1:1")], None)
