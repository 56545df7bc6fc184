"""How a supervised run ended, concluded from its exit status and from what its rings say."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from paceline_exporters.diagnosis.endings import LAST_EVENTS, MOST_NAMED
from paceline_exporters.messages import Event, Outcome, Proposal

from .rings import OwnRing

NOT_ATTACHED = (
    "no training process attached: none made a DistributedDataParallel, began Trainer.train(), called backward() "
    "or stepped an optimizer of torch's, or it ran as python -I, -E or -S, which run no sitecustomize; where a "
    "ring could not be made, the job's log says why; docs/watching.md tells what a loop can say itself"
)
NO_STEP = (
    "attached, but no step ended: no optimizer of torch's stepped in the thread that trains; "
    "docs/watching.md tells how a loop says itself when a step ends"
)
Told = list[tuple[OwnRing, Event]]


def why_not_attached(directory: Path) -> str:
    """Why no training process has left a ring in `directory`, as far as it can be seen from here."""
    place = directory
    while not place.exists() and place != place.parent:
        place = place.parent
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        return NOT_ATTACHED
    return f"no ring can be made in {directory}, so nothing is measured: set PACELINE_RING_DIR to another place"


def conclude(
    status: int,
    stop_reason: str,
    rings: Sequence[OwnRing],
    proposal: Proposal | None,
    not_attached: str = NOT_ATTACHED,
) -> Outcome:
    """The outcome of a run whose command exited with `status`; `rings` are those of its last attempt."""
    told = [(ring, event) for ring in rings for event in ring.reader.events(0)]
    outcome = (
        _rejected(told, status)
        or _stopped(stop_reason, status)
        or _failed(told, status, rings)
        or _not_attached(proposal, rings, status, not_attached)
        or _non_finite(told, status, proposal)
        or Outcome("finished", "done", exit_code=status)
    )
    return _with_metrics(outcome, told)


def _first(told: Told, kind: str) -> tuple[OwnRing, Event] | None:
    matching = [pair for pair in told if pair[1].kind == kind]
    return min(matching, key=lambda pair: pair[1].wall, default=None)


def _rejected(told: Told, status: int) -> Outcome | None:
    found = _first(told, "rejected")
    if found is None:
        return None
    detail = found[1].detail
    return Outcome("rejected", "rejected", str(detail.get("reason")), status, code=str(detail.get("code", "")))


def _stopped(stop_reason: str, status: int) -> Outcome | None:
    if not stop_reason:
        return None
    return Outcome("interrupted", "stopped", f"stopped by {stop_reason}", status)


def _failed(told: Told, status: int, rings: Sequence[OwnRing]) -> Outcome | None:
    if status == 0:
        return None
    oom, exception = _first(_fatal(told), "oom"), _first(told, "exception")
    if oom is not None:
        return Outcome("failed", "oom", "out of memory: " + _words(*oom), status)
    if _first(told, "nan") is not None and exception is None:
        return _non_finite_outcome(told, status)
    silent = _silent(told, rings)
    if exception is not None:
        # Either may be the cause: who is killed takes its peers' connections along; launchers kill survivors.
        also = f"; {_named(silent)} ended without a word (killed?)" if silent else ""
        return Outcome("failed", "crash", _words(*exception) + also, status)
    if silent or status == 137:
        who = f"{_named(silent)} {'was' if len(silent) == 1 else 'were'}" if silent else "the command was"
        detail = f"{who} killed without a word; if it was the kernel's out-of-memory killer, dmesg says so"
        return Outcome("failed", "killed", detail, status)
    return Outcome(
        "failed", "crash", f"the command exited with status {status} {_when(told)}; see its log", status
    )


def _silent(told: Told, rings: Sequence[OwnRing]) -> list[int]:
    """Ranks that neither ended training nor said why they could not."""
    ended = {ring.reader.uuid for ring, event in told if event.kind in LAST_EVENTS}
    return [ring.rank for ring in rings if ring.reader.uuid not in ended]


def _named(ranks: Sequence[int]) -> str:
    more = f" and {len(ranks) - MOST_NAMED} more" if len(ranks) > MOST_NAMED else ""
    return f"rank{'' if len(ranks) == 1 else 's'} {', '.join(map(str, ranks[:MOST_NAMED]))}{more}"


def _fatal(told: Told) -> Told:
    """Without allocations that failed and whose rank went on: it has ended steps since."""
    last = {ring.reader.uuid: event.step or 0.0 for ring, event in told if event.kind == "end"}
    return [
        (ring, event)
        for ring, event in told
        if event.kind != "oom" or last.get(ring.reader.uuid, 0.0) <= (event.step or 0.0)
    ]


def _when(told: Told) -> str:
    """Of a failure that no exception explains. A script that catches its own exits in or after training."""
    exited = [(ring, event) for ring, event in told if event.kind == "end" and event.detail.get("how") == "exit"]
    if exited:
        ring, event = exited[0]
        return f"after step {event.step or 0:.0f} of rank {ring.rank}, and no exception left its script"
    return "after training" if told else "before training"


def _words(ring: OwnRing, event: Event) -> str:
    step = "" if event.step is None else f" at step {event.step:.0f}"
    return f"rank {ring.rank}{step}: {event.detail.get('type')}: {event.detail.get('message')}"


def _not_attached(
    proposal: Proposal | None, rings: Sequence[OwnRing], status: int, reason: str
) -> Outcome | None:
    sets_something = proposal is not None and (proposal.arguments or proposal.ddp or proposal.harness)
    if rings or not sets_something:
        return None
    return Outcome("rejected", "rejected", reason, status, code="not_effective")


def _non_finite(told: Told, status: int, proposal: Proposal | None) -> Outcome | None:
    trial = proposal is not None and proposal.harness is not None
    return _non_finite_outcome(told, status) if trial and _first(told, "nan") is not None else None


def _non_finite_outcome(told: Told, status: int) -> Outcome:
    found = _first(told, "nan")
    step = found[1].step if found is not None else None
    at = "" if step is None else f" at step {step:.0f}"
    return Outcome(
        "failed", "nan", f"the loss is not finite{at}; lower the learning rate or the precision knob", status
    )


def _with_metrics(outcome: Outcome, told: Told) -> Outcome:
    evaluations = [event for ring, event in told if event.kind == "evaluation" and ring.rank == 0]
    if not evaluations:
        return outcome
    metrics = evaluations[-1].detail.get("metrics", {})
    if not isinstance(metrics, dict):
        return outcome
    numbers = {k: float(v) for k, v in metrics.items() if isinstance(v, int | float) and math.isfinite(v)}
    return Outcome(outcome.state, outcome.reason, outcome.detail, outcome.exit_code, numbers, outcome.code)
