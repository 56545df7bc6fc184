"""A submitter asks whether its run goes on."""

from __future__ import annotations

from sqlalchemy import func, select

from paceline_exporters.messages import Decision

from .decisions import Situation, decide
from .measuring import measure_run
from .progress import best_trial
from .runs import sign_of_life
from .tables import rings
from .work import Record, Work, spec_of


def beat(work: Work, run_id: str) -> Decision:
    """Renew the lease and answer; a stop is remembered before it is said."""
    run = sign_of_life(work, work.run(run_id))
    situation = _situation(work, run)
    progress = _progress(situation)
    if run.stop is not None:
        return Decision("stop", run.stop["reason"], progress)
    found = decide(situation)
    if isinstance(found, str):
        return Decision("continue", found, progress)
    if run.state != "closed":
        work.update_run(run, stop={"code": found.code, "reason": found.reason})
        work.log(work.study_by_id(run.study_id), "stop", f"run {run_id}: {found.reason}", run_id, code=found.code)
    return Decision("stop", found.reason, progress)


def _progress(now: Situation) -> dict[str, float]:
    known = {"step": now.last_step, "steps": now.spec.objective.steps, "throughput": now.throughput}
    return {name: float(value) for name, value in known.items() if value is not None}


def _situation(work: Work, run: Record) -> Situation:
    study = work.study_by_id(run.study_id)
    spec = spec_of(study)
    throughput = spec.objective.kind == "throughput"
    measured = measure_run(work, run) if throughput and run.last_step is not None else None
    best = best_trial(work, study) if throughput else None
    return Situation(
        spec=spec,
        protected=run.trial == 0 or run.kind == "pair",
        age=work.now - (run.started_at or work.now),
        idle=_idle(work, run, spec.objective.steps),
        last_step=run.last_step,
        nan_step=run.nan_step,
        ended=_ended(study, run),
        aligned_steps=measured.aligned_steps if measured else 0,
        throughput=measured.rate if measured else None,
        best=best.value if best is not None else None,
    )


def _idle(work: Work, run: Record, steps: int) -> float | None:
    """Silence counts from the service's own start at the earliest, and only while steps are still due."""
    if run.progress_at is None or (run.last_step or 0) >= steps or _any_ended(work, run):
        return None
    return work.now - max(float(run.progress_at), work.started)


def _any_ended(work: Work, run: Record) -> bool:
    query = select(func.count()).where(
        rings.c.run_id == run.run_id, rings.c.attempt == run.attempt, rings.c.ended
    )
    return bool(work.connection.execute(query).scalar_one())


def _ended(study: Record, run: Record) -> str:
    if run.state == "closed":
        return f"the run is closed as {run.outcome}: {run.reason}"
    if study.state in ("done", "failed"):
        return f"the study is over: {study.reason}"
    return ""
