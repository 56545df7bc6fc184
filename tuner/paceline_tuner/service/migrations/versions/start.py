"""The first tables: studies, trials, runs, rings, windows, events, requests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "start"
down_revision = None
branch_labels = None
depends_on = None

document = sa.JSON(none_as_null=True)


def _tenant() -> sa.Column[str]:
    return sa.Column("tenant", sa.String(64), nullable=False)


def upgrade() -> None:
    """Make the tables."""
    for make in (_studies, _trials, _runs, _rings, _windows, _events, _requests):
        make()


def _studies() -> None:
    op.create_table(
        "paceline_studies",
        sa.Column("id", sa.Integer, primary_key=True),
        _tenant(),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("cancelled", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("started_at", sa.Float),
        sa.Column("ended_at", sa.Float),
        sa.Column("baseline", document),
        sa.Column("candidate", sa.Integer),
        sa.Column("proof", document),
        sa.UniqueConstraint("tenant", "name", name="paceline_studies_name"),
    )


def _trials() -> None:
    op.create_table(
        "paceline_trials",
        sa.Column("id", sa.Integer, primary_key=True),
        _tenant(),
        sa.Column("study_id", sa.Integer, sa.ForeignKey("paceline_studies.id"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("params", document, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("value", sa.Float),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("closed_at", sa.Float),
        sa.Column("mirrored", sa.Boolean, nullable=False),
        sa.UniqueConstraint("study_id", "number", name="paceline_trials_number"),
    )
    op.create_index("paceline_trials_state", "paceline_trials", ["study_id", "state", "value"])
    op.create_index("paceline_trials_mirrored", "paceline_trials", ["mirrored", "state"])


def _runs() -> None:
    op.create_table(
        "paceline_runs",
        sa.Column("run_id", sa.String(128), primary_key=True),
        _tenant(),
        sa.Column("study_id", sa.Integer, sa.ForeignKey("paceline_studies.id"), nullable=False),
        sa.Column("trial", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("pair", sa.Integer),
        sa.Column("proposal", document, nullable=False),
        sa.Column("client_id", sa.String(128), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("outcome", sa.String(16)),
        sa.Column("cause", sa.String(16)),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("started_at", sa.Float),
        sa.Column("ended_at", sa.Float),
        sa.Column("closed_at", sa.Float),
        sa.Column("lease_at", sa.Float, nullable=False),
        sa.Column("progress_at", sa.Float),
        sa.Column("last_step", sa.Integer),
        sa.Column("nan_step", sa.Integer),
        sa.Column("world_size", sa.Integer),
        sa.Column("attempt", sa.Integer),
        sa.Column("told", document),
        sa.Column("stop", document),
        sa.Column("value", sa.Float),
        sa.Column("summary", document),
    )
    op.create_index("paceline_runs_open", "paceline_runs", ["study_id", "state"])
    op.create_index("paceline_runs_trial", "paceline_runs", ["study_id", "trial"])
    op.create_index("paceline_runs_lease", "paceline_runs", ["state", "lease_at"])


def _rings() -> None:
    op.create_table(
        "paceline_rings",
        sa.Column("ring", sa.String(64), primary_key=True),
        _tenant(),
        sa.Column("run_id", sa.String(128), sa.ForeignKey("paceline_runs.run_id"), nullable=False),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("world_size", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("node", sa.String(255), nullable=False),
        sa.Column("next_record", sa.Integer, nullable=False),
        sa.Column("next_event", sa.Integer, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("header", document),
        sa.Column("ended", sa.Boolean, nullable=False),
    )
    op.create_index("ix_paceline_rings_run_id", "paceline_rings", ["run_id"])


def _windows() -> None:
    op.create_table(
        "paceline_windows",
        sa.Column("id", sa.Integer, primary_key=True),
        _tenant(),
        sa.Column("ring", sa.String(64), sa.ForeignKey("paceline_rings.ring"), nullable=False),
        sa.Column("first", sa.Integer, nullable=False),
        sa.Column("last", sa.Integer, nullable=False),
        sa.Column("columns", document, nullable=False),
        sa.Column("evidence", document, nullable=False),
        sa.Column("received_at", sa.Float, nullable=False),
        sa.UniqueConstraint("ring", "first", name="paceline_windows_first"),
    )


def _events() -> None:
    op.create_table(
        "paceline_events",
        sa.Column("id", sa.Integer, primary_key=True),
        _tenant(),
        sa.Column("study_id", sa.Integer, sa.ForeignKey("paceline_studies.id"), nullable=False),
        sa.Column("run_id", sa.String(128)),
        sa.Column("ring", sa.String(64)),
        sa.Column("number", sa.Integer),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("step", sa.Float),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("detail", document, nullable=False),
        sa.UniqueConstraint("ring", "number", name="paceline_events_number"),
    )
    op.create_index("paceline_events_study", "paceline_events", ["study_id", "ring"])
    op.create_index("paceline_events_run", "paceline_events", ["run_id", "kind"])


def _requests() -> None:
    op.create_table(
        "paceline_requests",
        sa.Column("id", sa.Integer, primary_key=True),
        _tenant(),
        sa.Column("scope", sa.String(255), nullable=False),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.Column("answer", document, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.UniqueConstraint("tenant", "scope", "request_id", name="paceline_requests_id"),
    )
