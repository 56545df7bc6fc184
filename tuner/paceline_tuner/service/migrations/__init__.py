"""Alembic's migrations of the tuner's tables."""
