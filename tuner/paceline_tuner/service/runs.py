"""A run's life: signs of life, the submitter's word, leases, and how it is closed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from paceline_exporters.messages import Outcome

from .comparable import why_not
from .measuring import last_evaluation, measure_run
from .objective import Measurement, final_value
from .progress import is_superseded, reopen, settle
from .states import OPEN_STATES, Standing, step
from .tables import rings, runs
from .work import Record, Work, spec_of


@dataclass(frozen=True)
class Closing:
    """How a run is closed."""

    outcome: str
    """finished, failed, rejected, pruned, lost or interrupted."""
    cause: str
    """A word of `messages.OUTCOME_REASONS`, or `partial` or `lost`."""
    reason: str
    """A sentence for people."""
    value: float | None = None


STOPPED: Mapping[str, tuple[str, str]] = {
    "nan": ("failed", "nan"),
    "hang": ("failed", "hang"),
    "time": ("pruned", "stopped"),
    "hopeless": ("pruned", "stopped"),
    "cancelled": ("interrupted", "interrupted"),
}
"""What a run that we stopped counts as: outcome and cause."""


def standing(work: Work, run: Record) -> Standing:
    """The run's state, told apart from `lost` where it may still come back."""
    if run.state == "closed" and run.outcome == "lost":
        alive = work.study_by_id(run.study_id).state in ("search", "proof")
        return "lost" if alive and not is_superseded(work, run) else "closed"
    state: Standing = run.state
    return state


def sign_of_life(work: Work, run: Record) -> Record:
    """A heartbeat or a window came: the lease is renewed."""
    before = standing(work, run)
    state = step(before, "life")
    if state is None or state == "ending":
        return run
    if before == "lost":
        run = reopen(work, run, "it is alive after all")
    return work.update_run(
        run,
        state=state,
        started_at=run.started_at or work.now,
        lease_at=work.now + work.settings.running_seconds,
        reason="the run shows signs of life",
    )


def end(work: Work, run: Record, outcome: Outcome) -> Record:
    """The submitter says how the run ended; windows under way are waited for."""
    before = standing(work, run)
    state = step(before, "end")
    if state is None:
        return run
    if before == "lost":
        run = reopen(work, run, "its end was reported after all")
    run = work.update_run(
        run,
        state=state,
        told=outcome.encode(),
        ended_at=work.now,
        lease_at=work.now + work.settings.ending_seconds,
        reason=f"ended as {outcome.state}; the last windows are waited for",
    )
    return complete(work, run)


def complete(work: Work, run: Record) -> Record:
    """Close an ending run at once when nothing more can come that would count."""
    if run.state != "ending":
        return run
    wanted = run.told["state"] == "finished"
    if wanted and not _all_ended(work, run):
        return run
    return _close(work, run, "complete", _judge(work, run))


def _all_ended(work: Work, run: Record) -> bool:
    """Whether all ranks of the last attempt delivered their end."""
    query = select(rings.c.ended, rings.c.world_size, rings.c.rank).where(
        rings.c.run_id == run.run_id, rings.c.attempt == run.attempt
    )
    found = work.connection.execute(query).all()
    return bool(found) and len({row.rank for row in found if row.ended}) >= found[0].world_size


def expire(work: Work) -> int:
    """Close every run whose lease has run out; returns how many there were."""
    query = select(runs).where(runs.c.state.in_(OPEN_STATES), runs.c.lease_at <= work.now)
    expired = work.connection.execute(query).all()
    for run in expired:
        _close(work, run, "lease", _judge(work, run) if run.state == "ending" else _lost(work, run))
    return len(expired)


def _lost(work: Work, run: Record) -> Closing:
    if run.state == "proposed":
        waited = work.settings.proposed_seconds
        return Closing(
            "lost", "lost", f"no sign of life within {waited:.0f} s of the proposal: see its submitter's log"
        )
    waited = work.settings.running_seconds
    return Closing(
        "lost", "lost", f"neither window nor heartbeat for {waited:.0f} s: see its submitter, and the run's log"
    )


def _close(work: Work, run: Record, signal: Any, closing: Closing) -> Record:
    state = step(run.state, signal)
    assert state == "closed", f"{signal} cannot close a run that is {run.state}"
    run = work.update_run(
        run,
        state=state,
        outcome=closing.outcome,
        cause=closing.cause,
        reason=closing.reason,
        value=closing.value,
        closed_at=work.now,
    )
    settle(work, run)
    return work.run(run.run_id)


def _judge(work: Work, run: Record) -> Closing:
    """What the submitter's word, our own stop and the windows together say."""
    measured = measure_run(work, run)
    if measured.ranks:
        work.update_run(run, summary=measured.summary())
    told = Outcome.decode(run.told)
    if run.stop is not None and _by_our_stop(told):
        return Closing(*STOPPED[run.stop["code"]], run.stop["reason"])
    if told.state != "finished":
        return Closing(told.state, told.reason, told.detail or _silent(told, run))
    if unequal := why_not(work, run):
        return Closing("rejected", "rejected", unequal)
    value, reason = _value(work, run, told, measured)
    if value is None:
        return Closing("failed", "partial", reason)
    return Closing("finished", "done", reason, value)


def _by_our_stop(told: Outcome) -> bool:
    return told.state in ("pruned", "interrupted") or (
        told.state == "failed" and told.reason in ("stopped", "killed", "crash")
    )


def _silent(told: Outcome, run: Record) -> str:
    status = "" if told.exit_code is None else f" with exit status {told.exit_code}"
    return f"{told.state} ({told.reason}){status}: see the log of run {run.run_id}"


def _value(work: Work, run: Record, told: Outcome, measured: Measurement) -> tuple[float | None, str]:
    objective = spec_of(work.study_by_id(run.study_id)).objective
    if objective.kind == "final":
        return final_value(objective, told.metrics, last_evaluation(work, run))
    return measured.value, measured.reason
