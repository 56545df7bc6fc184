"""A tuner of one's own for one `paceline tune`: on a free port, with its database in the study's directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..child import ServiceChild, ServiceDied
from ..client import TunerAway


class PrivateTuner:
    """A `paceline serve` that is started again, on the same port, should it die."""

    def __init__(self, root: Path) -> None:
        self.root = root
        """Database and log are here."""
        self._child = self._service("127.0.0.1:0")

    def _service(self, address: str) -> ServiceChild:
        flags = ["--web.listen-address", address, "--database", str(self.root / "tuner.sqlite")]
        return ServiceChild(["serve", *flags], self.root / "tuner.log")

    @property
    def url(self) -> str:
        """Its address, once started."""
        return self._child.url

    def start(self) -> None:
        """Start and wait until it listens; raises TunerAway with its own words when it does not."""
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            self._child.start()
        except ServiceDied as error:
            raise TunerAway(f"the tuner did not start: {error}") from error

    def keep(self) -> None:
        """Start it again if it died."""
        if self._child.died:
            address = self.url.removeprefix("http://")
            self._child.stop()
            self._child = self._service(address)
            self.start()

    def stop(self) -> None:
        """End it."""
        self._child.stop()


@contextmanager
def private_tuner(root: Path) -> Iterator[PrivateTuner]:
    """One that lives for a block."""
    tuner = PrivateTuner(root)
    tuner.start()
    try:
        yield tuner
    finally:
        tuner.stop()
