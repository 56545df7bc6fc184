"""A submitter asks what to run next; one transaction finds the answer and keeps it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from sqlalchemy import insert, select

from paceline_exporters.messages import Harness, Proposal, RunKind, require
from paceline_tuner.study.compose import compose, expects
from paceline_tuner.study.spec import StudySpec

from .pairs import Next
from .progress import advance, count_trials, next_pair, open_runs, out_of_time
from .states import OPEN_STATES
from .tables import TENANT, requests, runs, trials
from .work import Record, Work, baseline_of, spec_of

WAIT_SECONDS = 1.0
"""When to ask again, while other runs are open."""
RUN_ROOT = "paceline-runs"
"""Directory of runs when the submitter names none; relative to where the job starts."""

Answer = dict[str, Any]


@dataclass(frozen=True)
class Ask:
    """POST /v1/studies/NAME/proposals."""

    client_id: str
    request_id: str
    run_root: str = RUN_ROOT
    resume: bool = False

    @classmethod
    def decode(cls, data: Mapping[str, Any]) -> Self:
        """From a JSON object; raises MessageError."""
        return cls(
            client_id=require(data, "client_id", str)[:128],
            request_id=require(data, "request_id", str)[:128],
            run_root=require(data, "run_root", str) if data.get("run_root") else RUN_ROOT,
            resume=require(data, "resume", bool) if "resume" in data else False,
        )


@dataclass(frozen=True)
class Sample:
    """Parameters that the sampler suggested."""

    params: Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """What a transaction found."""

    answer: Answer | None
    """None: a new configuration is needed, and none was given."""
    used: bool = False
    """The sample given became a trial."""


def ask(work: Work, name: str, asked: Ask, sample: Sample | None) -> Found:
    """The answer for `asked`, kept before it is given; the same request gets the same proposal again."""
    study = work.study(name)
    scope = f"ask:{name}:{asked.client_id}"
    if (known := recall(work, scope, asked.request_id)) is not None:
        return Found(known)
    if asked.resume and (mine := unfinished(work, study, asked.client_id)):
        return Found({"open": mine})
    if out_of_time(work, study):  # whatever else moves a study on, moved it when it happened
        study = advance(work, study)
    if study.state in ("done", "failed"):
        return Found({"done": True, "reason": study.reason})
    found = _pair(work, study, asked) if study.state == "proof" else _search(work, study, asked, sample)
    if found.answer is not None and "proposal" in found.answer:
        remember(work, scope, asked.request_id, found.answer)
    return found


def recall(work: Work, scope: str, request_id: str) -> Answer | None:
    """The answer that this request got before."""
    query = select(requests.c.answer).where(
        requests.c.tenant == TENANT, requests.c.scope == scope, requests.c.request_id == request_id
    )
    answer: Answer | None = work.connection.execute(query).scalar_one_or_none()
    return answer


def remember(work: Work, scope: str, request_id: str, answer: Answer) -> None:
    """Keep the answer for the same request sent again."""
    work.connection.execute(
        insert(requests).values(scope=scope, request_id=request_id, answer=answer, created_at=work.now)
    )


def unfinished(work: Work, study: Record, client_id: str) -> list[Answer]:
    """This client's runs that nobody ended: after a crash it goes on with these."""
    query = select(runs.c.proposal, runs.c.state).where(
        runs.c.study_id == study.id, runs.c.client_id == client_id, runs.c.state.in_(("proposed", "running"))
    )
    rows = work.connection.execute(query.order_by(runs.c.created_at))
    return [{"proposal": row.proposal, "state": row.state} for row in rows]


def _wait(reason: str) -> Found:
    return Found({"wait_seconds": WAIT_SECONDS, "reason": reason})


def _search(work: Work, study: Record, asked: Ask, sample: Sample | None) -> Found:
    spec = spec_of(study)
    running, count = open_runs(work, study), count_trials(work, study)
    if running >= spec.budget.parallel:
        return _wait(f"{running} of {spec.budget.parallel} parallel runs are open")
    if (trial := _waiting_trial(work, study)) is not None:
        return _propose(work, study, asked, trial)
    if count == 0:
        return _propose(work, study, asked, _new_trial(work, study, 0, {}))
    if count >= spec.budget.trials or out_of_time(work, study):
        return _wait(f"the search is over; {running} runs are still open")
    if needs_baseline(spec) and study.baseline is None:
        return _wait("the default run has not reported its batch yet, which the other trials depend on")
    if sample is None:
        return Found(None)
    proposed = _propose(work, study, asked, _new_trial(work, study, count, sample.params))
    return replace(proposed, used=True)


def needs_baseline(spec: StudySpec) -> bool:
    """Whether configurations can be chosen only once the default run's own are known."""
    return spec.hold_global_batch or any(knob.name == "ddp.static_graph" for knob in spec.knobs)


def _waiting_trial(work: Work, study: Record) -> Record | None:
    """A trial that is to be run again."""
    busy = select(runs.c.trial).where(runs.c.study_id == study.id, runs.c.state.in_(OPEN_STATES))
    query = select(trials).where(
        trials.c.study_id == study.id, trials.c.state == "open", trials.c.number.not_in(busy)
    )
    return work.connection.execute(query.order_by(trials.c.number).limit(1)).one_or_none()


def _new_trial(work: Work, study: Record, number: int, params: Mapping[str, Any]) -> Record:
    work.connection.execute(
        insert(trials).values(
            study_id=study.id,
            number=number,
            params=dict(params),
            state="open",
            reason="is being run",
            created_at=work.now,
        )
    )
    work.changed.add(study.name)
    return work.trial(study.id, number)


def _pair(work: Work, study: Record, asked: Ask) -> Found:
    found = next_pair(work, study)
    if not isinstance(found, Next) or open_runs(work, study):
        return _wait("a run is open; the runs of the proof go one after the other")
    number = 0 if found.side == "default" else study.candidate
    return _propose(work, study, asked, work.trial(study.id, number), found.pair)


def _propose(work: Work, study: Record, asked: Ask, trial: Record, pair: int | None = None) -> Found:
    """One more run of `trial`, kept."""
    query = select(runs.c.run_id).where(runs.c.study_id == study.id, runs.c.trial == trial.number)
    number = len(work.connection.execute(query).all())
    proposal = build(study, trial, "trial" if pair is None else "pair", str(number), asked.run_root)
    answer = proposal.encode()
    work.connection.execute(
        insert(runs).values(
            run_id=proposal.run_id,
            study_id=study.id,
            trial=trial.number,
            kind=proposal.kind,
            number=number,
            pair=pair,
            proposal=answer,
            client_id=asked.client_id,
            state="proposed",
            reason="waits to be started",
            created_at=work.now,
            lease_at=work.now + work.settings.proposed_seconds,
        )
    )
    if study.started_at is None:
        work.update_study(study, started_at=work.now)
    what = "its default" if trial.number == 0 else f"trial {trial.number}"
    text = f"run {proposal.run_id} of {what} given to {asked.client_id}"
    work.log(study, "proposal", text, proposal.run_id, pair=pair)
    return Found({"proposal": answer})


def build(study: Record, trial: Record, kind: RunKind, number: str, run_root: str) -> Proposal:
    """The proposal that runs `trial`; a normal run has no harness."""
    spec = spec_of(study)
    run_id = f"{spec.name}-{trial.number}-{number}-{secrets.token_hex(3)}"
    configuration = compose(spec, trial.params, baseline_of(study))
    harness = Harness(
        output_dir=f"{run_root.rstrip('/')}/{run_id}",
        max_steps=spec.objective.steps,
        seed=spec.seed,
        evaluate=spec.objective.kind == "final",
    )
    return Proposal(
        study=spec.name,
        trial=trial.number,
        run_id=run_id,
        kind=kind,
        arguments=configuration.arguments,
        ddp=configuration.ddp,
        env=configuration.env,
        placeholders=configuration.placeholders,
        values=configuration.values,
        expects={} if kind == "normal" else expects(spec),
        harness=None if kind == "normal" else harness,
    )
