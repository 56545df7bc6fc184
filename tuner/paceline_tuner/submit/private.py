"""A tuner of one's own for one `paceline tune`: on a free port, with its database in the study's directory."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..child import ServiceChild, ServiceDied
from ..client import TunerAway

FREE = "127.0.0.1:0"
END_SECONDS = 10.0
"""From SIGTERM to SIGKILL of a tuner that outlived its submitter."""


class PrivateTuner:
    """A `paceline serve` that is started again, on the same port, should it die."""

    def __init__(self, root: Path) -> None:
        self.root = root
        """Database, log and last address are here."""
        self._child = self._service(FREE)

    def _service(self, address: str) -> ServiceChild:
        flags = ["--web.listen-address", address, "--database", str(database(self.root))]
        return ServiceChild(["serve", *flags], self.root / "tuner.log")

    @property
    def url(self) -> str:
        """Its address, once started."""
        return self._child.url

    def start(self) -> None:
        """Start and wait until it listens; raises TunerAway with its own words when it does not.

        On the port it had before, where that is free: supervisors that outlived it still deliver there.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        before = _url(self.root).removeprefix("http://")
        if not before or not self._listens(before):
            self._listens_or_raises(FREE)
        _url_file(self.root).write_text(self.url)

    def _listens(self, address: str) -> bool:
        with suppress(TunerAway):
            self._listens_or_raises(address)
            return True
        return False

    def _listens_or_raises(self, address: str) -> None:
        self._child = self._service(address)
        try:
            self._child.start()
        except ServiceDied as error:
            raise TunerAway(f"the tuner did not start: {error}") from error

    def keep(self) -> None:
        """Start it again if it died."""
        if self._child.died:
            self._child.stop()
            self.start()

    def stop(self) -> None:
        """End it."""
        self._child.stop()


def database(root: Path) -> Path:
    """Of a study directory's own tuner."""
    return root / "tuner.sqlite"


def running_url(root: Path) -> str:
    """Where the directory's own tuner listens, if one runs; else empty."""
    return _url(root) if _pid(root) else ""


def end_leftover(root: Path) -> None:
    """End the tuner of a submitter that was killed; only for who holds the directory (`lock.alone_in`)."""
    deadline = time.monotonic() + END_SECONDS
    number = signal.SIGTERM
    while pid := _pid(root):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        time.sleep(0.1)
        number = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL


def _url_file(root: Path) -> Path:
    return root / "tuner.url"


def _url(root: Path) -> str:
    try:
        return _url_file(root).read_text().strip()
    except OSError:
        return ""


def _pid(root: Path) -> int:
    """Process of the tuner that has signed the database's lock; 0 when it is gone."""
    path = database(root)
    try:
        pid = int(path.with_name(f"{path.name}.lock").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return 0
    return pid if str(path).encode() in command.split(b"\0") else 0


@contextmanager
def private_tuner(root: Path) -> Iterator[PrivateTuner]:
    """One that lives for a block."""
    tuner = PrivateTuner(root)
    tuner.start()
    try:
        yield tuner
    finally:
        tuner.stop()
