"""The submitter says how a run ended; said twice, it counts once."""

from __future__ import annotations

from typing import Any

from paceline_exporters.messages import Outcome

from .asks import recall, remember
from .runs import end
from .work import Work


def take(work: Work, run_id: str, outcome: Outcome, request_id: str) -> dict[str, Any]:
    """The run's state after this word: `ending` while windows are awaited, else `closed`."""
    run = work.run(run_id)
    scope = f"end:{run_id}"
    if (known := recall(work, scope, request_id)) is not None:
        return known
    run = end(work, run, outcome)
    answer = {"state": run.state, "outcome": run.outcome, "reason": run.reason}
    remember(work, scope, request_id, answer)
    return answer
