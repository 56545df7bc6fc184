"""Which tuner a command talks to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..client import TunerClient
from .private import PrivateTuner, private_tuner

DEFAULT_URL = "http://127.0.0.1:19471"


def study_directory(given: Path | None, study: str) -> Path:
    """Where a study's runs, logs and state are, unless said otherwise."""
    return (given or Path("paceline") / study).absolute()


@contextmanager
def own_or_given(url: str | None, directory: Path) -> Iterator[tuple[TunerClient, PrivateTuner | None]]:
    """The tuner at `url`; without one, a private tuner on the study's own database."""
    if url:
        yield TunerClient(url.rstrip("/")), None
        return
    with private_tuner(directory) as private:
        yield TunerClient(private.url), private


@contextmanager
def that_knows(url: str | None, directory: Path) -> Iterator[TunerClient]:
    """The tuner that has the study: the one at `url`, else the one of its directory, else this machine's."""
    has_database = (directory / "tuner.sqlite").exists()
    with own_or_given(url or (None if has_database else DEFAULT_URL), directory) as (client, _):
        yield client
