"""The tuner's tables, as they stand after the last migration."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

TENANT = "default"
"""The only tenant so far; the column stands in every table from the start."""
VERSION_TABLE = "paceline_alembic_version"

metadata = MetaData()
document = JSON(none_as_null=True)


def _tenant() -> Column[str]:
    return Column("tenant", String(64), nullable=False, default=TENANT)


studies = Table(
    "paceline_studies",
    metadata,
    Column("id", Integer, primary_key=True),
    _tenant(),
    Column("name", String(64), nullable=False),
    Column("spec", Text, nullable=False),  # canonical JSON
    Column("state", String(16), nullable=False),  # search, proof, done, failed
    Column("cancelled", Boolean, nullable=False, default=False),
    Column("reason", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),  # first proposal
    Column("ended_at", Float),
    Column("baseline", document),  # {"arguments", "world_size"} of the default run
    Column("candidate", Integer),  # trial that the proof is about
    Column("proof", document),
    UniqueConstraint("tenant", "name", name="paceline_studies_name"),
)

trials = Table(
    "paceline_trials",
    metadata,
    Column("id", Integer, primary_key=True),
    _tenant(),
    Column("study_id", Integer, ForeignKey("paceline_studies.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("params", document, nullable=False),
    Column("state", String(16), nullable=False),  # open, complete, failed, pruned
    Column("value", Float),
    Column("reason", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("closed_at", Float),
    Column("mirrored", Boolean, nullable=False, default=False),
    UniqueConstraint("study_id", "number", name="paceline_trials_number"),
    Index("paceline_trials_state", "study_id", "state", "value"),
    Index("paceline_trials_mirrored", "mirrored", "state"),
)

runs = Table(
    "paceline_runs",
    metadata,
    Column("run_id", String(128), primary_key=True),
    _tenant(),
    Column("study_id", Integer, ForeignKey("paceline_studies.id"), nullable=False),
    Column("trial", Integer, nullable=False),
    Column("kind", String(16), nullable=False),  # trial, pair
    Column("number", Integer, nullable=False),  # of the trial's runs, from 0
    Column("pair", Integer),
    Column("proposal", document, nullable=False),
    Column("client_id", String(128), nullable=False),
    Column("state", String(16), nullable=False),
    Column("outcome", String(16)),
    Column("cause", String(16)),
    Column("reason", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),  # first sign of life
    Column("ended_at", Float),  # the submitter's word
    Column("closed_at", Float),
    Column("lease_at", Float, nullable=False),
    Column("progress_at", Float),  # last new step record
    Column("last_step", Integer),
    Column("nan_step", Integer),
    Column("world_size", Integer),
    Column("attempt", Integer),
    Column("told", document),  # the submitter's Outcome
    Column("stop", document),  # {"code", "reason"} of our own stop
    Column("value", Float),
    Column("summary", document),
    Index("paceline_runs_open", "study_id", "state"),
    Index("paceline_runs_trial", "study_id", "trial"),
    Index("paceline_runs_lease", "state", "lease_at"),
)

rings = Table(
    "paceline_rings",
    metadata,
    Column("ring", String(64), primary_key=True),
    _tenant(),
    Column("run_id", String(128), ForeignKey("paceline_runs.run_id"), nullable=False, index=True),
    Column("rank", Integer, nullable=False),
    Column("world_size", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("node", String(255), nullable=False),
    Column("next_record", Integer, nullable=False),
    Column("next_event", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("header", document),
    Column("ended", Boolean, nullable=False, default=False),
)

windows = Table(
    "paceline_windows",
    metadata,
    Column("id", Integer, primary_key=True),
    _tenant(),
    Column("ring", String(64), ForeignKey("paceline_rings.ring"), nullable=False),
    Column("first", Integer, nullable=False),
    Column("last", Integer, nullable=False),
    Column("columns", document, nullable=False),
    Column("evidence", document, nullable=False),
    Column("received_at", Float, nullable=False),
    UniqueConstraint("ring", "first", name="paceline_windows_first"),
)

events = Table(
    "paceline_events",
    metadata,
    Column("id", Integer, primary_key=True),
    _tenant(),
    Column("study_id", Integer, ForeignKey("paceline_studies.id"), nullable=False),
    Column("run_id", String(128)),
    Column("ring", String(64)),  # empty: said by the service itself
    Column("number", Integer),  # in the ring
    Column("kind", String(32), nullable=False),
    Column("at", Float, nullable=False),
    Column("step", Float),
    Column("text", Text, nullable=False),
    Column("detail", document, nullable=False),
    UniqueConstraint("ring", "number", name="paceline_events_number"),
    Index("paceline_events_study", "study_id", "ring"),
    Index("paceline_events_run", "run_id", "kind"),
)

requests = Table(
    "paceline_requests",
    metadata,
    Column("id", Integer, primary_key=True),
    _tenant(),
    Column("scope", String(255), nullable=False),  # ask:STUDY:CLIENT or end:RUN
    Column("request_id", String(128), nullable=False),
    Column("answer", document, nullable=False),
    Column("created_at", Float, nullable=False),
    UniqueConstraint("tenant", "scope", "request_id", name="paceline_requests_id"),
)
