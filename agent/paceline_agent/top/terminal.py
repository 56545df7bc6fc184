"""The terminal while it is ours, and as it was when we leave: on a key, a signal, an exception, or a stop.

`cbreak`, not `raw`: the terminal goes on to make signals of Ctrl-C and Ctrl-Z. Handlers do nothing themselves:
the interpreter writes the numbers of signals to a pipe (signal.set_wakeup_fd), and one select waits for them and
for keys.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from rich.console import Console, RenderableType

Wish = Literal["quit", "redraw", "pause", ""]

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WISHES: dict[int, Wish] = {
    **dict.fromkeys(ENDS, "quit"),
    signal.SIGWINCH: "redraw",
    signal.SIGTSTP: "pause",
}
ORDER: Sequence[Wish] = ("quit", "pause", "redraw", "")
"""Of several at once the first is done."""
ESCAPE = b"\x1b"


class Signals:
    """Signals as things to wait for, until `close`."""

    def __init__(self) -> None:
        self.descriptor, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._woken = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._handlers = {number: signal.signal(number, lambda *_: None) for number in WISHES}

    def wishes(self) -> set[Wish]:
        """Of the signals that came."""
        try:
            return {WISHES[number] for number in os.read(self.descriptor, 512) if number in WISHES}
        except BlockingIOError:
            return set()

    def close(self) -> None:
        """As it was."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._woken)
        os.close(self._writing)
        os.close(self.descriptor)


class Terminal:
    """A screen that is drawn anew each period, and keys."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._keys = sys.stdin.fileno() if sys.stdin.isatty() else None
        self._size = (0, 0)

    def run(self, draw: Callable[[], RenderableType], period_seconds: float) -> None:
        """Show what `draw` returns until someone wants to quit; returns when they do."""
        signals = Signals()
        try:
            while self._show(draw, signals, period_seconds) == "pause":
                os.kill(os.getpid(), signal.SIGSTOP)  # until the shell continues us
        finally:
            signals.close()

    def _show(self, draw: Callable[[], RenderableType], signals: Signals, period_seconds: float) -> Wish:
        with self._taken():
            while True:
                self._draw(draw())
                wish = self._wait(signals, time.monotonic() + period_seconds)
                if wish in ("quit", "pause"):
                    return wish

    @contextlib.contextmanager
    def _taken(self) -> Iterator[None]:
        before = None if self._keys is None else termios.tcgetattr(self._keys)
        try:
            if self._keys is not None:
                tty.setcbreak(self._keys)
            self._console.set_alt_screen(True)
            self._console.show_cursor(False)
            yield
        finally:
            with contextlib.suppress(OSError):  # the terminal hung up
                self._console.show_cursor(True)
                self._console.set_alt_screen(False)
            if self._keys is not None and before is not None:
                with contextlib.suppress(termios.error):
                    termios.tcsetattr(self._keys, termios.TCSADRAIN, before)

    def _draw(self, frame: RenderableType) -> None:
        # Asked of the terminal each time: COLUMNS and LINES, which rich prefers, do not follow a resize.
        size = os.get_terminal_size(sys.stdout.fileno())
        if size != self._size:
            self._size = size
            self._console.size = size
            self._console.clear()
        self._console.update_screen(frame)

    def _wait(self, signals: Signals, until: float) -> Wish:
        """Until then, or until someone wants something."""
        while (left := until - time.monotonic()) > 0:
            watched = [signals.descriptor, *([] if self._keys is None else [self._keys])]
            ready, _, _ = select.select(watched, [], [], left)
            wishes = signals.wishes() | (self._typed() if self._keys in ready else set())
            if wishes:
                return min(wishes, key=ORDER.index)
        return ""

    def _typed(self) -> set[Wish]:
        assert self._keys is not None
        try:
            typed = os.read(self._keys, 1024)
        except OSError:  # EIO: the terminal hung up
            return {"quit"}
        return {"quit"} if not typed or (b"q" in typed.lower() and not typed.startswith(ESCAPE)) else set()
