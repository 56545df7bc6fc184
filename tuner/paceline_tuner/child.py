"""A Paceline service as a child process, started as a user would; its address is read from what it prints."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_ADDRESS = re.compile(rb"listening on (http://\S+)")
STOP_SECONDS = 10.0
"""From SIGTERM to SIGKILL."""


class ServiceDied(Exception):
    """The service did not start; the text is its own last word."""


class ServiceChild:
    """`paceline ARGUMENTS`, with its log in a file; a context manager that ends it."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        self.arguments, self.log = arguments, log
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it listens; raises ServiceDied."""
        command = [sys.executable, "-m", "paceline_exporters", *self.arguments]
        with self.log.open("ab") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
            )
        found = _ADDRESS.search(self._process.stdout.readline()) if self._process.stdout else None
        if found is None:
            self.stop()
            lines = self.log.read_text(errors="replace").splitlines()
            raise ServiceDied(lines[-1] if lines else f"paceline {self.arguments[0]} ended at once")
        self.url = found[1].decode()

    @property
    def died(self) -> bool:
        """Whether it was started and ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def stop(self) -> None:
        """End it, if it was started."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()
