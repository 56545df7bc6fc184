"""A `paceline` service under a test's eyes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self


class Service:
    """A service that can be killed and started again on the same port."""

    def __init__(
        self, directory: Path, words: Sequence[str | Path], environment: Mapping[str, str] | None = None
    ) -> None:
        self.words, self.address, self.url = [str(word) for word in words], "127.0.0.1:0", ""
        self._environment = None if environment is None else dict(environment)
        self._log = directory / f"{words[0]}.log"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> Self:
        """Start and wait until it listens."""
        command = [sys.executable, "-m", "paceline_exporters", *self.words]
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [*command, "--web.listen-address", self.address],
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        found = re.search(r"https?://(\S+)", self._process.stdout.readline())
        assert found, self._log.read_text()
        self.url, self.address = found[0], found[1]
        return self

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
