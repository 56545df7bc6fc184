"""What Alembic runs: our tables, under a version table of our own (Optuna owns `alembic_version`)."""

from __future__ import annotations

from alembic import context

from paceline_tuner.service import tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.metadata,
    version_table=tables.VERSION_TABLE,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
