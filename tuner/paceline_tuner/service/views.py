"""What people and clients see of a study, as JSON."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from sqlalchemy import func, select

from paceline_tuner.study.compose import compose

from .asks import build
from .errors import Conflict
from .progress import best_trial, default_trial, open_runs, pair_runs
from .tables import TENANT, events, runs, studies, trials
from .work import Record, Work, baseline_of, spec_of

RUN_FIELDS = (
    "run_id",
    "kind",
    "number",
    "pair",
    "state",
    "outcome",
    "cause",
    "reason",
    "value",
    "client_id",
    "created_at",
    "started_at",
    "ended_at",
    "closed_at",
    "last_step",
    "world_size",
    "summary",
)
TRIAL_FIELDS = ("number", "params", "state", "value", "reason", "created_at", "closed_at")
STUDY_FIELDS = ("name", "state", "cancelled", "reason", "created_at", "started_at", "ended_at", "proof")


def all_studies(work: Work) -> dict[str, Any]:
    """Every study, without its trials."""
    rows = work.connection.execute(select(studies).where(studies.c.tenant == TENANT).order_by(studies.c.id)).all()
    return {"studies": [_study(work, row) for row in rows]}


def study_view(work: Work, name: str, with_trials: bool) -> dict[str, Any]:
    """One study: where it stands, what is best, and each trial with its runs."""
    study = work.study(name)
    view = {**_study(work, study), "spec": json.loads(study.spec), "baseline": study.baseline}
    return {**view, "trials": _trials(work, study)} if with_trials else view


def _study(work: Work, study: Record) -> dict[str, Any]:
    spec = spec_of(study)
    query = select(trials.c.state, func.count()).where(trials.c.study_id == study.id).group_by(trials.c.state)
    counts = {"open": 0, "complete": 0, "failed": 0, "pruned": 0}
    counts |= {row[0]: row[1] for row in work.connection.execute(query)}
    done = {(run.pair, run.side) for run in pair_runs(work, study) if run.standing == "finished"}
    pairs = [pair for pair, side in done if side == "default" and (pair, "candidate") in done]
    return {
        **{name: getattr(study, name) for name in STUDY_FIELDS},
        "counts": {**counts, "open_runs": open_runs(work, study)},
        "progress": {
            "trials": sum(counts.values()) - counts["open"],
            "of_trials": spec.budget.trials,
            "pairs": len(pairs),
            "of_pairs": spec.proof.max_pairs,
        },
        "seconds_left": _seconds_left(work, study),
        "best": _brief(best_trial(work, study)),
        "default": _brief(default_trial(work, study)),
    }


def _seconds_left(work: Work, study: Record) -> float | None:
    limit = spec_of(study).budget.wall_seconds
    if limit is None or study.state != "search":
        return None
    return max(0.0, limit - (work.now - (study.started_at or work.now)))


def _brief(trial: Record | None) -> dict[str, Any] | None:
    return None if trial is None else {"trial": trial.number, "value": trial.value, "params": trial.params}


def _trials(work: Work, study: Record) -> list[dict[str, Any]]:
    by_trial: dict[int, list[dict[str, Any]]] = defaultdict(list)
    query = select(runs).where(runs.c.study_id == study.id).order_by(runs.c.trial, runs.c.number)
    for run in work.connection.execute(query):
        by_trial[run.trial].append({name: getattr(run, name) for name in RUN_FIELDS})
    rows = work.connection.execute(select(trials).where(trials.c.study_id == study.id).order_by(trials.c.number))
    return [{**{name: getattr(row, name) for name in TRIAL_FIELDS}, "runs": by_trial[row.number]} for row in rows]


def best(work: Work, name: str) -> dict[str, Any]:
    """The best configuration known, and what its proof says."""
    study = work.study(name)
    trial, default = _chosen(work, study), default_trial(work, study)
    if trial is None:
        raise Conflict(f"no trial of {name} has finished yet: ask again when one has")
    configuration = compose(spec_of(study), trial.params, baseline_of(study))
    return {
        "study": name,
        "state": study.state,
        "trial": trial.number,
        "params": trial.params,
        "arguments": configuration.arguments,
        "ddp": configuration.ddp,
        "env": configuration.env,
        "placeholders": configuration.placeholders,
        "values": configuration.values,
        "value": trial.value,
        "default_value": None if default is None else default.value,
        "proof": study.proof,
    }


def _chosen(work: Work, study: Record) -> Record | None:
    """What the proof is about, or else the best so far."""
    return best_trial(work, study) if study.candidate is None else work.trial(study.id, study.candidate)


def normal_proposal(work: Work, name: str, even_unproven: bool) -> dict[str, Any]:
    """The configuration for a run of the user's own: the proven one, else the default and why."""
    study = work.study(name)
    proof = study.proof or {
        "verdict": None,
        "reason": f"the study is in state {study.state}: nothing is proved yet",
    }
    chosen = _chosen(work, study)
    if chosen is not None and (even_unproven or proof["verdict"] == "use this"):
        return {"proposal": build(study, chosen, "normal", "normal", "").encode(), "reason": proof["reason"]}
    trial = work.connection.execute(
        select(trials).where(trials.c.study_id == study.id, trials.c.number == 0)
    ).one_or_none()
    if trial is None:
        raise Conflict(f"study {name} has not begun: run it with `paceline tune`, or launch the job by itself")
    proposal = build(study, trial, "normal", "normal", "").encode()
    return {"proposal": proposal, "reason": f"the job's own default: {proof['reason']}"}


def log_of(work: Work, name: str) -> dict[str, Any]:
    """What was decided in a study, when and why."""
    study = work.study(name)
    query = select(events).where(events.c.study_id == study.id, events.c.ring.is_(None)).order_by(events.c.id)
    fields = ("at", "kind", "text", "run_id", "detail")
    return {"events": [{key: getattr(row, key) for key in fields} for row in work.connection.execute(query)]}
