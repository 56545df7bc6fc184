"""A command in a terminal of its own: a real pty, and as much of an ECMA-48 screen as tests look at."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

PATIENCE = 60.0
"""Seconds that a test waits for what must come; no test measures time."""
TOKEN = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|\x1b.|([\r\n])|([^\x1b\r\n]+)", re.DOTALL)


class Screen:
    """What a terminal shows after some output; attributes are left out."""

    def __init__(self, output: str) -> None:
        self.rows: dict[int, str] = {}
        self.alternate = False
        self.cursor_hidden = False
        self._row = self._column = 0
        for parameters, final, control, text in TOKEN.findall(output):
            self._obey(parameters, final, control, text)

    @property
    def text(self) -> str:
        """All rows."""
        return "\n".join(self.rows.get(row, "").rstrip() for row in range(max(self.rows, default=-1) + 1))

    def _obey(self, parameters: str, final: str, control: str, text: str) -> None:
        if text:
            row = self.rows.get(self._row, "").ljust(self._column)
            self.rows[self._row] = row[: self._column] + text + row[self._column + len(text) :]
            self._column += len(text)
        elif control:
            self._row, self._column = self._row + (control == "\n"), 0
        elif final == "H":
            numbers = [int(number or 1) for number in parameters.split(";")] if parameters else [1, 1]
            self._row, self._column = numbers[0] - 1, numbers[-1] - 1
        elif final == "J":
            self.rows.clear()
        elif parameters == "?1049":
            self.alternate = final == "h"
            self.rows.clear()
        elif parameters == "?25":
            self.cursor_hidden = final == "l"


class InTerminal:
    """A process whose controlling terminal is a pty of the test's own."""

    def __init__(
        self,
        command: Sequence[str],
        columns: int = 120,
        lines: int = 30,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.descriptor, child = pty.openpty()
        self.resize(columns, lines)
        self.before = self.attributes()
        self._output = bytearray()
        self.process = subprocess.Popen(
            command,
            stdin=child,
            stdout=child,
            stderr=child,
            env={**os.environ, "TERM": "xterm-256color", **(environment or {})},
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(child)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        """All that was written so far."""
        return bytes(self._output).decode("utf-8", "replace")

    @property
    def screen(self) -> Screen:
        """As it is now."""
        return Screen(self.output)

    def attributes(self) -> list[Any]:
        """Of the terminal (termios(3))."""
        return termios.tcgetattr(self.descriptor)

    def resize(self, columns: int, lines: int) -> None:
        """The kernel tells the process with SIGWINCH."""
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        """As a person would."""
        os.write(self.descriptor, keys)

    def until(self, condition: Callable[[Screen], object], what: str) -> Screen:
        """The screen, once it is as wished."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if condition(screen := self.screen):
                return screen
            time.sleep(0.05)
        raise AssertionError(f"never happened: {what}; the screen:\n{self.screen.text}")

    def state(self) -> str:
        """R, S, T (stopped) and so on, proc_pid_stat(5)."""
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def ends(self) -> int:
        """Wait for it; the exit status."""
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def close(self) -> None:
        """Whatever it does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        os.close(self.descriptor)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # EIO once nobody has the other end
            while data := os.read(self.descriptor, 65536):
                self._output += data


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
