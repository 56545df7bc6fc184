"""What a closed run means for its trial, and what its trials mean for the study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Select, func, select

from paceline_tuner.study.compose import Baseline, restrict
from paceline_tuner.study.errors import StudyError

from .pairs import Busy, Next, PairRun, Side, Verdict, plan
from .states import OPEN_STATES
from .tables import runs, trials
from .work import Record, Work, better, spec_of

TRIES = 2
"""Runs that may fail before their configuration is blamed."""
FAILED_IN_A_ROW = 5
"""Failed trials in a row after which a study ends."""
FAILURES = ("failed", "lost")


def is_superseded(work: Work, run: Record) -> bool:
    """Whether the work of `run` was given to a later run."""
    query = select(runs.c.run_id).where(
        runs.c.study_id == run.study_id,
        runs.c.trial == run.trial,
        runs.c.kind == run.kind,
        runs.c.pair.is_(run.pair) if run.pair is None else runs.c.pair == run.pair,
        runs.c.number > run.number,
    )
    return work.connection.execute(query.limit(1)).first() is not None


def reopen(work: Work, run: Record, why: str) -> Record:
    """Take back that a run was lost."""
    study = work.study_by_id(run.study_id)
    if run.kind == "trial":
        trial = work.trial(run.study_id, run.trial)
        work.update_trial(trial, state="open", closed_at=None, reason=f"run {run.run_id}: {why}", mirrored=False)
    work.changed.add(study.name)
    work.log(study, "reopened", f"run {run.run_id} was taken for lost, but {why}", run.run_id)
    return work.update_run(run, outcome=None, cause=None, closed_at=None)


def settle(work: Work, run: Record) -> None:
    """Draw the conclusions from a run that was just closed."""
    study = work.study_by_id(run.study_id)
    text = f"run {run.run_id} {run.outcome}: {run.reason}"
    work.log(study, "run", text, run.run_id, outcome=run.outcome, cause=run.cause, value=run.value)
    if run.kind == "trial":
        _settle_trial(work, study, run)
    work.changed.add(study.name)
    advance(work, work.study_by_id(study.id))


def _settle_trial(work: Work, study: Record, run: Record) -> None:
    trial = work.trial(run.study_id, run.trial)
    state = _trial_state(work, run)
    if state == "open":
        work.update_trial(trial, reason=f"is run again: {run.reason}")
        return
    work.update_trial(trial, state=state, value=run.value, reason=run.reason, closed_at=work.now)
    if run.outcome == "rejected" and run.told.get("code") == "unknown_name":
        fail(
            work,
            study,
            f"the job's libraries do not know a knob of the study, so no trial can work: {run.reason}",
        )


def _trial_state(work: Work, run: Record) -> str:
    direct = {"finished": "complete", "pruned": "pruned", "rejected": "failed", "interrupted": "open"}
    if run.outcome in direct:
        return direct[run.outcome]
    query = select(func.count()).where(
        runs.c.study_id == run.study_id,
        runs.c.trial == run.trial,
        runs.c.kind == "trial",
        runs.c.outcome.in_(FAILURES),
    )
    return "failed" if work.connection.execute(query).scalar_one() >= TRIES else "open"


def fail(work: Work, study: Record, reason: str) -> Record:
    """End a study that cannot go on."""
    return _finish(work, study, "failed", reason)


def _finish(work: Work, study: Record, state: str, reason: str, **columns: Any) -> Record:
    work.log(study, state, reason)
    work.changed.add(study.name)
    return work.update_study(study, state=state, reason=reason, ended_at=work.now, **columns)


def cancel(work: Work, study: Record) -> Record:
    """End a study because somebody asked for it; what runs is told to stop."""
    if study.state not in ("search", "proof"):
        return study
    return _finish(work, study, "done", "cancelled on request", cancelled=True)


def advance(work: Work, study: Record) -> Record:
    """Move a study on where its trials or its time say so."""
    if study.state == "search":
        study = _advance_search(work, study)
    if study.state == "proof":
        found = next_pair(work, study)
        if isinstance(found, Verdict):
            study = _conclude(work, study, found)
    return study


def open_runs(work: Work, study: Record) -> int:
    """Runs of a study that are not closed."""
    query = select(func.count()).where(runs.c.study_id == study.id, runs.c.state.in_(OPEN_STATES))
    return int(work.connection.execute(query).scalar_one())


def count_trials(work: Work, study: Record, state: str | None = None) -> int:
    """Trials of a study, of one state if given."""
    query = select(func.count()).where(trials.c.study_id == study.id)
    return int(
        work.connection.execute(query if state is None else query.where(trials.c.state == state)).scalar_one()
    )


def out_of_time(work: Work, study: Record) -> bool:
    """Whether the study's wall time is over."""
    limit = spec_of(study).budget.wall_seconds
    return limit is not None and study.started_at is not None and work.now - study.started_at >= limit


def best_trial(work: Work, study: Record) -> Record | None:
    """The complete trial with the best value; of equals the first."""
    order = trials.c.value.desc() if spec_of(study).objective.direction == "maximize" else trials.c.value
    query = _complete(study).order_by(order, trials.c.number).limit(1)
    return work.connection.execute(query).one_or_none()


def default_trial(work: Work, study: Record) -> Record | None:
    """Trial 0, once it is complete."""
    return work.connection.execute(_complete(study).where(trials.c.number == 0)).one_or_none()


def _complete(study: Record) -> Select[Any]:
    return select(trials).where(trials.c.study_id == study.id, trials.c.state == "complete")


def _advance_search(work: Work, study: Record) -> Record:
    if reason := _broken(work, study):
        return fail(work, study, reason)
    time_over = out_of_time(work, study)
    if open_runs(work, study) or not (time_over or count_trials(work, study) >= spec_of(study).budget.trials):
        return study
    if time_over:
        _drop_waiting(work, study)
    return study if count_trials(work, study, "open") else _end_search(work, study)


def _broken(work: Work, study: Record) -> str:
    """Why the search cannot succeed, or nothing."""
    query = select(trials).where(trials.c.study_id == study.id, trials.c.state != "open")
    first = work.connection.execute(query.where(trials.c.number == 0)).one_or_none()
    if first is not None and first.state != "complete":
        return (
            f"the default run did not work, so there is nothing to compare with: {first.reason} "
            f"(see the log of run {_last_run(work, study)}; make the command work by itself first)"
        )
    latest = work.connection.execute(
        query.order_by(trials.c.closed_at.desc(), trials.c.id.desc()).limit(FAILED_IN_A_ROW)
    )
    rows = latest.all()
    if len(rows) == FAILED_IN_A_ROW and all(row.state == "failed" for row in rows):
        return (
            f"the last {FAILED_IN_A_ROW} trials all failed, the latest because: {rows[0].reason} "
            f"(see the log of run {_last_run(work, study)}; narrow the knobs that break the job)"
        )
    return ""


def _last_run(work: Work, study: Record) -> str:
    query = select(runs.c.run_id).where(runs.c.study_id == study.id, runs.c.outcome.is_not(None))
    return str(work.connection.execute(query.order_by(runs.c.closed_at.desc()).limit(1)).scalar_one())


def _drop_waiting(work: Work, study: Record) -> None:
    query = select(trials).where(trials.c.study_id == study.id, trials.c.state == "open")
    for trial in work.connection.execute(query).all():
        reason = f"the study's time was over before it could be run again ({trial.reason})"
        work.update_trial(trial, state="failed", reason=reason, closed_at=work.now)


def _end_search(work: Work, study: Record) -> Record:
    spec = spec_of(study)
    default, best, count = default_trial(work, study), best_trial(work, study), count_trials(work, study)
    if default is None or best is None:
        return fail(
            work, study, "the time was over before the default run had finished: give budget.wall_seconds more"
        )
    if best.number == 0 or not better(spec)(best.value, default.value):
        reason = f"none of {count - 1} configurations beat the default ({default.value:.6g})"
        proof = _unproven(0, "keep your default", reason)
        return _finish(work, study, "done", reason, candidate=0, proof=proof)
    gain = f"trial {best.number} reached {best.value:.6g}, the default {default.value:.6g}, in one run each"
    if spec.proof.max_pairs == 0:
        return _finish(work, study, "done", f"{gain}; no proof was asked for", candidate=best.number)
    work.log(study, "proof", f"the search is over: {gain}; alternating pairs now show whether that holds")
    return work.update_study(study, state="proof", candidate=best.number, reason=f"{gain}; pairs are being run")


def _unproven(trial: int, verdict: str, reason: str, pairs: int = 0, dropped: int = 0) -> dict[str, Any]:
    return {
        "trial": trial,
        "ratio": None,
        "low": None,
        "high": None,
        "pairs": pairs,
        "dropped": dropped,
        "verdict": verdict,
        "reason": reason,
        "default": [],
        "candidate": [],
    }


def next_pair(work: Work, study: Record) -> Next | Busy | Verdict:
    """What the proof needs now."""
    spec = spec_of(study)
    return plan(pair_runs(work, study), spec.proof, spec.objective.direction)


def pair_runs(work: Work, study: Record) -> Sequence[PairRun]:
    """The proof's runs so far."""
    query = select(runs).where(runs.c.study_id == study.id, runs.c.kind == "pair").order_by(runs.c.created_at)
    return [_pair_run(run) for run in work.connection.execute(query)]


def _pair_run(run: Record) -> PairRun:
    side: Side = "default" if run.trial == 0 else "candidate"
    if run.state != "closed":
        return PairRun(run.pair, side, "open")
    if run.outcome in ("finished", "interrupted"):
        return PairRun(run.pair, side, run.outcome, run.value)
    return PairRun(run.pair, side, "failed")


def _conclude(work: Work, study: Record, verdict: Verdict) -> Record:
    interval, pairs = verdict.interval, len(verdict.default)
    words = interval.verdict if interval and pairs >= spec_of(study).proof.min_pairs else "keep your default"
    if interval is None:
        text = f"no ratio could be formed from {pairs} pairs; {verdict.reason}"
        proof = _unproven(study.candidate, words, text, pairs, verdict.dropped)
        return _finish(work, study, "done", f"{words}: {text}", proof=proof)
    # JSON has no infinity: an interval of too few pairs is open above
    high = interval.high if interval.high != float("inf") else None
    text = (
        f"trial {study.candidate} is {interval.ratio:.4f} times as good as the default "
        f"(95 % interval {interval.low:.4f} to {interval.high:.4f}, {pairs} pairs; {verdict.reason})"
    )
    proof = {
        **_unproven(study.candidate, words, text, pairs, verdict.dropped),
        "ratio": interval.ratio,
        "low": interval.low,
        "high": high,
        "default": list(verdict.default),
        "candidate": list(verdict.candidate),
    }
    return _finish(work, study, "done", f"{words}: {text}", proof=proof)


def learn_baseline(work: Work, run: Record, header: dict[str, Any], world_size: int) -> None:
    """Keep what the default run ran with, as soon as its ring says so."""
    study = work.study_by_id(run.study_id)
    effective = header.get("effective")
    arguments = effective.get("arguments") if isinstance(effective, dict) else None
    if run.kind != "trial" or run.trial != 0 or study.baseline is not None or not arguments:
        return
    ddp = effective.get("ddp") if isinstance(effective, dict) else None
    baseline = Baseline(arguments, world_size, ddp if isinstance(ddp, dict) else {})
    work.update_study(study, baseline=asdict(baseline))
    work.log(
        study, "baseline", f"the default run on {world_size} ranks has reported its {len(arguments)} arguments"
    )
    work.changed.add(study.name)
    try:
        restrict(spec_of(study), baseline)
    except StudyError as error:
        fail(work, study, str(error))
