"""Which tuner a command talks to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..client import TunerClient, TunerRefused
from .private import PrivateTuner, database, end_leftover, private_tuner, running_url

DEFAULT_URL = "http://127.0.0.1:19471"


def study_directory(given: Path | None, study: str) -> Path:
    """Where a study's runs, logs and state are, unless said otherwise."""
    return (given or Path("paceline") / study).absolute()


@contextmanager
def own_or_given(url: str | None, directory: Path) -> Iterator[tuple[TunerClient, PrivateTuner | None]]:
    """The tuner at `url`; without one, a private tuner on the study's own database.

    For who holds the directory: a private tuner that outlived its submitter is ended first.
    """
    if url:
        yield _client(url), None
        return
    end_leftover(directory)
    with private_tuner(directory) as private:
        yield TunerClient(private.url), private


@contextmanager
def that_knows(url: str | None, directory: Path) -> Iterator[TunerClient]:
    """The tuner that has the study: the one at `url`, else the one of its directory, else this machine's."""
    given = url or running_url(directory)
    if given or not database(directory).exists():
        yield _client(given or DEFAULT_URL)
        return
    with private_tuner(directory) as private:
        yield TunerClient(private.url)


def _client(url: str) -> TunerClient:
    if not url.startswith(("http://", "https://")):
        raise TunerRefused(0, "bad_url", f"expected a tuner's URL such as {DEFAULT_URL}, got {url!r}")
    return TunerClient(url.rstrip("/"))
