"""The child process: started with little memory, read without waiting, killed without waiting."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path

from .messages import Lines, Message

Kill = Callable[["subprocess.Popen[bytes]"], None]

MOST_ABANDONED = 2
"""Children in uninterruptible sleep: each holds memory and a process entry until the driver lets go of it."""
DYING_SECONDS = 1.0
"""A killed child that lives longer is abandoned."""
PIPE_BYTES = 2**20
"""What the child may say while the agent does not run (a node under load); Linux's limit for any user."""
READ_BYTES = 2**16
"""Memory is set aside for so much by each read, and what the child says in a round is less."""
_CODE = """\
import sys
sys.path.insert(0, sys.argv[1])
sys.path.append(sys.argv[2])
from child.main import main
main(int(sys.argv[3]), float(sys.argv[4]), sys.argv[5:])
"""


class BindingsMissing(FileNotFoundError):
    """pynvml is not installed: install the extra that brings it."""


class Child:
    """One child, from its start to its end."""

    def __init__(self, suspects: Collection[str], hold_seconds: float) -> None:
        """`suspects`: see `child.main.Node`. Raises BindingsMissing or OSError."""
        package = Path(__file__).parent
        arguments = [str(package), _bindings(), str(os.getpid()), str(hold_seconds), *sorted(suspects)]
        # -S and -E: neither site-packages nor PYTHON* variables: they cost memory, and may run code of others.
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", _CODE, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.process.stdout is not None
        self._pipe = self.process.stdout
        os.set_blocking(self._pipe.fileno(), False)
        with contextlib.suppress(OSError):  # over the user's limit: the default of 64 KiB does as well
            fcntl.fcntl(self._pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._lines = Lines()
        self.pending = ("init", "", time.monotonic())
        """What it may hang in: group, who, since when (monotonic, seconds)."""
        self.gone = ""
        """Its last word, when the driver is not to be had."""
        self.nvml_seconds = 0.0
        self.errors: Counter[str] = Counter()
        """Of calls, by name."""
        self.rounds = 0
        self.ended = False
        """Its end of the pipe is closed."""

    @property
    def is_resting(self) -> bool:
        """Whether it is in no call of the driver but the wait for events."""
        return self.pending[0] == "events"

    def fileno(self) -> int:
        """Of the pipe, for select."""
        return self._pipe.fileno()

    def read(self) -> list[Message]:
        """All that it has said since the last time."""
        messages: list[Message] = []
        while not self.ended:
            try:
                chunk = os.read(self._pipe.fileno(), READ_BYTES)
            except BlockingIOError:
                break
            self.ended = not chunk
            messages += self._lines.feed(chunk)
        for message in messages:
            self._note(message)
        return messages

    def close(self) -> None:
        """Let go of the pipe."""
        self._pipe.close()

    def cost(self) -> tuple[int, float] | None:
        """Resident memory in bytes and CPU time in seconds; None once it ended."""
        own = Path("/proc") / str(self.process.pid)
        try:
            pages = int((own / "statm").read_bytes().split()[1])
            # proc(5): utime and stime are fields 14 and 15; the second, in parentheses, may hold anything.
            ticks = (own / "stat").read_bytes().rpartition(b")")[2].split()[11:13]
        except (OSError, IndexError):
            return None
        return pages * os.sysconf("SC_PAGE_SIZE"), sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    def _note(self, message: Message) -> None:
        match message:
            case ["begin", group, who, since]:
                self.pending = (group, who, since)
            case ["rest", until, seconds, errors]:
                self.pending = ("events", "", until)
                self.nvml_seconds, self.errors = seconds, Counter(errors)
                self.rounds += 1
            case ["gone", error]:
                self.gone = error


class Killed:
    """Children that were killed and have not ended."""

    def __init__(self, kill: Kill = subprocess.Popen.kill) -> None:
        self._kill = kill
        self._dying: list[tuple[subprocess.Popen[bytes], float]] = []
        self._abandoned: list[subprocess.Popen[bytes]] = []
        self.abandoned_total = 0

    @property
    def abandoned(self) -> int:
        """That SIGKILL has not ended."""
        return len(self._abandoned)

    @property
    def has_room(self) -> bool:
        """Whether another child may be started."""
        return not self._dying and self.abandoned < MOST_ABANDONED

    def add(self, child: Child) -> None:
        """Kill it, without waiting for its end."""
        child.close()
        self._kill(child.process)
        self._dying.append((child.process, time.monotonic()))

    def sweep(self) -> None:
        """Reap those that have ended, give up those that do not."""
        self._abandoned = [process for process in self._abandoned if process.poll() is None]
        alive = [(process, since) for process, since in self._dying if process.poll() is None]
        late = [process for process, since in alive if time.monotonic() - since > DYING_SECONDS]
        self._dying = [(process, since) for process, since in alive if process not in late]
        self._abandoned += late
        self.abandoned_total += len(late)

    def wait(self, seconds: float) -> None:
        """Give the dying a moment to end."""
        for process, _ in self._dying:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
        self.sweep()


def _bindings() -> str:
    """The directory that pynvml is imported from. Raises BindingsMissing."""
    spec = importlib.util.find_spec("pynvml")
    if spec is None or spec.origin is None:
        raise BindingsMissing("pynvml is not installed: pip install 'paceline[agent]'")
    module = Path(spec.origin)
    return str(module.parent.parent if module.name == "__init__.py" else module.parent)
