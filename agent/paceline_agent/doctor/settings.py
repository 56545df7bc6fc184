"""The agent's settings: would it start with these flags."""

from __future__ import annotations

from collections.abc import Iterator

from ..settings import Settings, SettingsError
from .finding import Finding
from .visit import Visit


def examine(visit: Visit) -> Iterator[Finding]:
    """Make the settings as the agent does; nothing is said of those that are right."""
    try:
        Settings(
            visit.listen_address,
            world=visit.world,
            tuner_url=visit.tuner_url,
            spool_directory=visit.spool_directory,
        )
    except SettingsError as error:
        flag, _, what = str(error).partition(": ")
        yield Finding("settings", "broken", "the agent does not start", what, f"correct {flag}")
