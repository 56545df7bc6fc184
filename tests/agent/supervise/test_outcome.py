from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline_agent.supervise.outcome import conclude
from paceline_agent.supervise.rings import OwnRings
from paceline_exporters.attach.recorder import Recorder
from paceline_exporters.messages import Harness, Outcome, Proposal

NORMAL = Proposal("s", 1, "r", "normal")  # sets nothing that needs us inside: placeholders, environment
SETS = Proposal("s", 1, "r", "normal", arguments={"seed": 1})
TRIAL = Proposal("s", 1, "r", "trial", harness=Harness("out", 1, 1))
Happened = tuple[str, dict[str, Any]]
START: Happened = ("start", {})
END: Happened = ("end", {"how": "finished"})
EXIT: Happened = ("end", {"how": "exit"})
RAISED: Happened = ("exception", {"type": "ValueError", "message": "bad"})
OOM: Happened = ("oom", {"type": "RuntimeError", "message": "can't allocate"})
SURVIVED: Happened = ("oom", {**OOM[1], "step": 3.0})
NAN: Happened = ("nan", {"loss": "nan"})
RESET: Happened = ("exception", {"type": "RuntimeError", "message": "reset"})
FAILED: Happened = ("end", {"how": "exception"})
REJECTED: Happened = ("rejected", {"reason": "no such field", "code": "unknown_name"})


@pytest.fixture
def ended(rings: Path) -> Iterator[Callable[..., Outcome]]:
    opened: list[OwnRings] = []

    def run(status: int, *ranks: list[Happened], stop: str = "", proposal: Proposal | None = None) -> Outcome:
        for rank, events in enumerate(ranks):
            recorder = Recorder(rings, {"run_id": "r", "rank": rank, "supervisor": "token"})
            for kind, detail in events:
                recorder.event(kind, detail.get("step", 7.0), detail)
        opened.append(OwnRings(rings, "token"))
        return conclude(status, stop, opened[-1].last_attempt(), proposal)

    yield run
    for one in opened:
        one.close()


@pytest.mark.parametrize(
    ("status", "ranks", "state", "reason", "detail"),
    [
        (0, [[START, END]], "finished", "done", ""),
        (0, [], "finished", "done", ""),
        (0, [[START, RAISED, END]], "finished", "done", ""),  # the script dealt with it
        (1, [[START, RAISED, END]], "failed", "crash", "rank 0 at step 7: ValueError: bad"),
        (1, [[START, END], [START, OOM, END]], "failed", "oom", "out of memory: rank 1 at step 7: RuntimeError"),
        (1, [[START, RAISED, END], [OOM]], "failed", "oom", "out of memory: rank 1"),
        (1, [[START, SURVIVED, RAISED, EXIT]], "failed", "crash", "rank 0 at step 7: ValueError: bad"),
        (1, [[START, NAN, END]], "failed", "nan", "the loss is not finite at step 7"),
        (1, [[START, NAN, RAISED, END]], "failed", "crash", "rank 0 at step 7"),
        (1, [[START, END], [START]], "failed", "killed", "rank 1 was killed without a word"),
        (137, [], "failed", "killed", "the command was killed without a word"),
        (2, [], "failed", "crash", "the command exited with status 2 before training"),
        (2, [[START, END]], "failed", "crash", "the command exited with status 2 after training"),
        (0, [[START, EXIT]], "finished", "done", ""),
        (3, [[START, EXIT]], "failed", "crash", "the command exited with status 3 after step 7 of rank 0"),
        (1, [[START, EXIT], [START]], "failed", "killed", "rank 1 was killed without a word"),
        (78, [[START, REJECTED]], "rejected", "rejected", "no such field"),
        (1, [[START, RAISED], [REJECTED]], "rejected", "rejected", "no such field"),
    ],
)
def test_conclusions(
    ended: Callable[..., Outcome], status: int, ranks: list[Any], state: str, reason: str, detail: str
) -> None:
    outcome = ended(status, *ranks)
    assert (outcome.state, outcome.reason, outcome.exit_code) == (state, reason, status)
    assert outcome.detail.startswith(detail)
    assert bool(outcome.detail) == (state != "finished")


def test_the_first_exception_is_the_cause(ended: Callable[..., Outcome], rings: Path) -> None:
    outcome = ended(1, [START, RAISED], [START, ("exception", {"type": "GlooError", "message": "peer gone"})])
    assert outcome.detail == "rank 0 at step 7: ValueError: bad"


@pytest.mark.parametrize(
    ("ranks", "detail"),
    [
        ([[START, RESET, FAILED], [START]], "rank 0 at step 7: RuntimeError: reset; rank 1 ended without a word"),
        (
            [[START], [START, RESET, FAILED], [START]],
            "RuntimeError: reset; ranks 0, 2 ended without a word (killed?)",
        ),
        ([[START], [START], [START, EXIT]], "ranks 0, 1 were killed without a word"),
        ([[START, RESET, FAILED]] + [[START]] * 10, "; ranks 1, 2, 3, 4, 5, 6, 7, 8 and 2 more ended without"),
    ],
)
def test_ranks_without_a_word_are_named_beside_who_raised(
    ended: Callable[..., Outcome], ranks: list[Any], detail: str
) -> None:
    assert detail in ended(1, *ranks).detail


def test_a_rejection_carries_its_code(ended: Callable[..., Outcome]) -> None:
    assert ended(78, [REJECTED]).code == "unknown_name"


def test_a_stop_that_was_asked_for_is_no_failure(ended: Callable[..., Outcome]) -> None:
    outcome = ended(143, [START], stop="SIGTERM")
    assert (outcome.state, outcome.detail) == ("interrupted", "stopped by SIGTERM")


@pytest.mark.parametrize(
    ("proposal", "state"), [(None, "finished"), (NORMAL, "finished"), (SETS, "rejected"), (TRIAL, "rejected")]
)
def test_a_proposal_that_nobody_read_was_not_run(
    ended: Callable[..., Outcome], proposal: Proposal | None, state: str
) -> None:
    outcome = ended(0, proposal=proposal)
    assert outcome.state == state
    assert ("no training process attached" in outcome.detail) == (state == "rejected")


@pytest.mark.parametrize(("proposal", "state"), [(None, "finished"), (NORMAL, "finished"), (TRIAL, "failed")])
def test_a_loss_that_is_not_finite_fails_a_trial_only(
    ended: Callable[..., Outcome], proposal: Proposal | None, state: str
) -> None:
    assert ended(0, [START, NAN, END], proposal=proposal).state == state


def test_metrics_are_those_of_rank_0s_last_evaluation(ended: Callable[..., Outcome]) -> None:
    def evaluation(loss: Any) -> Happened:
        return "evaluation", {"metrics": {"eval_loss": loss, "name": "x"}}

    outcome = ended(0, [START, evaluation(3.0), evaluation(2.0), END], [START, evaluation(9.0), END])
    assert outcome.metrics == {"eval_loss": 2.0}


@pytest.mark.parametrize("metrics", ["text", None, [1], {"eval_loss": "2"}])
def test_odd_metrics_are_none(ended: Callable[..., Outcome], metrics: Any) -> None:
    assert ended(0, [START, ("evaluation", {"metrics": metrics}), END]).metrics == {}
