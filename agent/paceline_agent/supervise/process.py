"""The supervised process: signals passed on, orphans found by the token in their environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

from paceline_exporters.processes import kill_marked

from .launch import LaunchError

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT)
TOKEN = "PACELINE_SUPERVISOR"
LINGER_SECONDS = 20.0
"""How long the processes of a trial may take to exit once all ranks have said that they ended."""
LEASH = "leash"
LEASH_SECONDS = 15.0
"""From the end of the leash to the end of everything, where the run has no grace of its own."""


class Supervised:
    """A command under our eyes. `stop_reason` says which signal asked for its end, if one did."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        grace_seconds: float | None,
        over: Callable[[], bool] = lambda: False,
    ) -> None:
        self.stop_reason = ""
        self.lingered = False
        """Every rank had said that it ended, and still the command did not: it was killed."""
        self._over = over
        self._grace_seconds = grace_seconds
        self._token = environment[TOKEN]
        self._command, self._environment = command, environment
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []

    def run(self, leash: bool) -> int:
        """Start, wait, and return the exit status, 128 + signal where a signal ended it. Raises LaunchError.

        With `leash` the command is ended when our standard input closes, that is when whoever started us
        is gone, however it went.
        """
        previous = {number: signal.signal(number, self._forward) for number in FORWARDED}
        try:
            self._process = subprocess.Popen(
                self._command,
                env=dict(self._environment),
                stdin=subprocess.DEVNULL if leash else None,
            )
            if leash:
                threading.Thread(target=self._watch_leash, name="leash", daemon=True).start()
            if self._grace_seconds is not None:
                threading.Thread(target=self._watch_end, name="end", daemon=True).start()
            for number in self._early:
                self._process.send_signal(number)
            status = self._process.wait()
        except (OSError, ValueError) as error:  # ValueError: a zero byte, or `=` in a variable's name
            text = getattr(error, "strerror", None) or str(error)
            raise LaunchError(f"cannot start {self._command[0]!r}: {text}") from error
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        if self._grace_seconds is not None or self.stop_reason == LEASH:
            self._kill_orphans()
        return 128 - status if status < 0 else status

    def _forward(self, number: int, frame: FrameType | None) -> None:
        if number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            self.stop_reason = self.stop_reason or signal.Signals(number).name
        if self._process is None:
            self._early.append(number)
        elif not (number == signal.SIGINT and _at_terminal()):  # the terminal told the whole group already
            self._process.send_signal(number)
        if self.stop_reason and self._grace_seconds is not None:
            self._escalate(self._grace_seconds)

    def _escalate(self, seconds: float) -> None:
        timer = threading.Timer(seconds, self._kill_orphans)
        timer.daemon = True
        timer.start()

    def _watch_leash(self) -> None:
        while os.read(sys.stdin.fileno(), 4096):
            continue
        if self._process is not None and self._process.poll() is None:
            self.stop_reason = self.stop_reason or LEASH
            self._process.terminate()
            self._escalate(LEASH_SECONDS if self._grace_seconds is None else self._grace_seconds)

    def _watch_end(self) -> None:
        """A trial whose ranks all ended, but whose processes hang in their teardown, is ended for them."""
        seen: float | None = None
        while not self.lingered and self._process is not None and self._process.returncode is None:
            time.sleep(1.0)
            seen = (seen or time.monotonic()) if self._over() else None
            if seen is not None and time.monotonic() - seen > LINGER_SECONDS:
                self.lingered = True
                self._kill_orphans()

    def _kill_orphans(self) -> None:
        kill_marked(f"{TOKEN}={self._token}\0".encode())


def _at_terminal() -> bool:
    try:
        return sys.stdin.isatty()
    except (AttributeError, ValueError):  # no standard input, or a closed one
        return False
