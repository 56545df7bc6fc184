"""Keeps one child that owns NVML: deadlines, restarts, and the bookkeeping of both.

A call of the driver that hangs cannot be interrupted from within its process, so the process is what is given up.
A GPU that wedged a child is asked last by the next one, and not at once: the others stay fresh meanwhile.
"""

from __future__ import annotations

import select
import subprocess
import time
from collections import Counter

from .child.groups import PERIODS
from .messages import Message
from .process import Child, Kill, Killed

GROUPS = ("init", *PERIODS, "events")
DEADLINE_SECONDS = 3.0
"""For a call, with those of its group that went before it within `announcing.RENEW_SECONDS`."""
INIT_DEADLINES = (5.0, 5.0, 5.0, 10.0)
"""For nvmlInit and to open one GPU, in turn: without persistence mode a driver may rightly take long."""
BACKOFF_SECONDS = (0.0, 1.0, 2.0, 4.0, 5.0)
"""After children that failed in a row. With a deadline and a hold, data are back within 15 s of the driver."""
HOLD_SECONDS = 4.0
"""A GPU that wedged the last child is left alone for this long."""
GOOD_ROUNDS = 2
"""A child that did as many did not fail at once."""
REAP_SECONDS = 0.05
"""What a killed child may take to end, if the next is to start in the same breath."""
RARELY_SECONDS = 60.0
"""Between looks for a driver on a node where nothing says that there should be one."""
REPROBE_SECONDS = (5.0, 10.0, 20.0, 40.0, 60.0)
"""A lost GPU comes back, if it does, only for a process that opens it anew; and only a process that let go of it
allows its reset."""
RESTART_REASONS = ("deadline", "exited", "driver", "reprobe")


class Keeper:
    """At most one child at work."""

    def __init__(self, kill: Kill = subprocess.Popen.kill) -> None:
        """`kill` is what ends a process."""
        self.restarts = dict.fromkeys(RESTART_REASONS, 0)
        """Children that ended, by why; another was started for each."""
        self.deadline_misses = dict.fromkeys(GROUPS, 0)
        self.killed = Killed(kill)
        self.suspects: set[str] = set()
        """GPUs that the latest children hung in, by UUID, or `#2` for an index."""
        self.trouble: Exception | None = None
        """Why not all is well; None while it is."""
        self.child: Child | None = None
        self._nvml_seconds = self._cpu_seconds = 0.0
        self._errors: Counter[str] = Counter()
        self._failures = 0
        self._start_at = 0.0
        self._expecting = False
        self._lost: set[str] = set()
        self._reprobes = 0
        self._reprobe_at = 0.0

    @property
    def nvml_seconds(self) -> float:
        """Inside NVML, all children together."""
        return self._nvml_seconds + (self.child.nvml_seconds if self.child else 0.0)

    @property
    def errors(self) -> Counter[str]:
        """Calls of NVML that failed, by error, all children together."""
        return self._errors + (self.child.errors if self.child else Counter())

    def cost(self) -> tuple[int, float]:
        """Resident memory of the child in bytes, and CPU time of all children in seconds."""
        memory, seconds = (self.child and self.child.cost()) or (0, 0.0)
        return memory, self._cpu_seconds + seconds

    def poll(self, expecting: bool) -> list[Message]:
        """What the child has said; never waits. `expecting`: there should be a driver."""
        now = time.monotonic()
        self.killed.sweep()
        if expecting and not self._expecting:
            self._start_at = min(self._start_at, now)  # a GPU has come: its driver may be there too
        self._expecting = expecting
        messages = self._watch(now, expecting) if self.child is not None else []
        if self.child is None and time.monotonic() >= self._start_at and self.killed.has_room:
            self._start(expecting)
        return messages

    def settle(self, seconds: float) -> None:
        """Wait for the child to say something."""
        if self.child is not None:
            select.select([self.child], [], [], seconds)

    def close(self) -> None:
        """End the child."""
        if self.child is not None:
            self.killed.add(self.child)
            self.child = None
        self.killed.wait(DEADLINE_SECONDS)

    def _watch(self, now: float, expecting: bool) -> list[Message]:
        assert self.child is not None
        messages = self.child.read()
        for message in messages:
            self._note(message, now)
        if self.child.ended:
            self._ended(expecting)
        elif self._is_overdue(now):
            self._miss(now)
        elif self._lost and now >= self._reprobe_at and self.child.is_resting:
            self._reprobes += 1
            self._replace("reprobe", 0.0)
        return messages

    def _start(self, expecting: bool) -> None:
        self._lost.clear()
        try:
            self.child = Child(self.suspects, HOLD_SECONDS)
        except OSError as error:
            self.trouble = error
            self._rest(expecting)

    def _note(self, message: Message, now: float) -> None:
        match message:
            case ["data", "fast", uuid, _, _]:
                self.suspects.discard(uuid)
            case ["topology", _, gpus, _]:
                self.suspects -= {f"#{gpu.get('index')}" for gpu in gpus}
            case ["gone", error]:
                self.trouble = OSError(f"NVML: {error}")
            case ["lost", who, _]:
                self.suspects.discard(who)
                self._lost.add(who)
                self._reprobe_at = now + REPROBE_SECONDS[min(self._reprobes, len(REPROBE_SECONDS) - 1)]
            case ["rest", *_]:
                if self.child is not None and self.child.rounds >= GOOD_ROUNDS:
                    self._failures = 0
                if not self.suspects:
                    self.trouble = None
                if not self._lost:
                    self._reprobes = 0

    def _is_overdue(self, now: float) -> bool:
        assert self.child is not None
        group, _, since = self.child.pending
        limit = DEADLINE_SECONDS
        if group == "init":
            limit = INIT_DEADLINES[self.deadline_misses["init"] % len(INIT_DEADLINES)]
        return now - since > limit

    def _miss(self, now: float) -> None:
        assert self.child is not None
        group, who, since = self.child.pending
        self._nvml_seconds += now - since  # the child will not tell of it
        self.deadline_misses[group if group in self.deadline_misses else "init"] += 1
        if who:
            self.suspects.add(who)
        self.trouble = TimeoutError(f"no answer from NVIDIA's driver ({' '.join(filter(None, (group, who)))})")
        self._replace("deadline", self._backoff())

    def _ended(self, expecting: bool) -> None:
        assert self.child is not None
        if self.child.gone:
            self._replace("driver", 0.0)
        else:
            self.trouble = OSError("the process that owns NVML was killed")
            self._replace("exited", 0.0)
        self._rest(expecting)

    def _rest(self, expecting: bool) -> None:
        self._start_at = time.monotonic() + (self._backoff() if expecting else RARELY_SECONDS)

    def _backoff(self) -> float:
        self._failures += 1
        return BACKOFF_SECONDS[min(self._failures, len(BACKOFF_SECONDS)) - 1]

    def _replace(self, reason: str, rest_seconds: float) -> None:
        """Give the child up; the next one starts after `rest_seconds`."""
        assert self.child is not None
        self.restarts[reason] += 1
        self._nvml_seconds, (_, self._cpu_seconds) = self.nvml_seconds, self.cost()
        self._errors = self.errors
        self.killed.add(self.child)
        self.child = None
        self._start_at = time.monotonic() + rest_seconds
        self.killed.wait(REAP_SECONDS)
