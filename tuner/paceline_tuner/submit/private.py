"""A tuner of one's own for one `paceline tune`: on a free port, with its database in the study's directory."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..client import TunerAway

_ADDRESS = re.compile(rb"listening on (http://\S+)")


@dataclass
class PrivateTuner:
    """A `paceline serve` that is started again should it die; its port stays the same."""

    root: Path
    """Database and log go here."""
    address: str = "127.0.0.1:0"
    url: str = ""
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it listens; raises TunerAway with its own words when it does not."""
        self.root.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "paceline_exporters", "serve"]
        flags = ["--web.listen-address", self.address, "--database", str(self.root / "tuner.sqlite")]
        log = self.root / "tuner.log"
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [*command, *flags],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        output = self._process.stdout
        found = _ADDRESS.search(output.readline()) if output is not None else None
        if found is None:
            self.stop()
            raise TunerAway(f"the tuner did not start: {_last_line(log)}")
        self.url = found[1].decode()
        self.address = self.url.removeprefix("http://")

    def keep(self) -> None:
        """Start it again if it died."""
        if self._process is not None and self._process.poll() is not None:
            self._close()
            self.start()

    def stop(self) -> None:
        """End it."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close()

    def _close(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return lines[-1] if lines else f"see {log}"


@contextmanager
def private_tuner(root: Path) -> Iterator[PrivateTuner]:
    """One that lives for a block."""
    tuner = PrivateTuner(root)
    tuner.start()
    try:
        yield tuner
    finally:
        tuner.stop()
