"""Reads devices one after the other in a thread that can be left behind: a driver that blocks costs one device.

A read of sysfs cannot be interrupted. So the devices are read by a helper thread; one that stays in a device too
long is abandoned there, another one goes on with the rest, and the device is left out until its thread returns.
There is at most one such thread per device. In the good case all devices cost one change of threads.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class _Round(Generic[T]):
    """Work for one thread, and how far it is."""

    def __init__(self, calls: Mapping[str, Callable[[], T]]) -> None:
        self.waiting = deque(calls.items())
        self.outcomes: dict[str, T | Exception] = {}
        self.current = ""
        self.began = 0.0
        """Of `current`, monotonic, seconds; 0 between two."""
        self.done = threading.Event()

    def work(self) -> None:
        while True:
            try:
                name, call = self.waiting.popleft()
            except IndexError:  # done, or what waited was taken back
                break
            self.began = time.monotonic()
            self.current = name
            try:
                self.outcomes[name] = call()
            except Exception as error:  # noqa: BLE001 - handed to the caller of `run`
                self.outcomes[name] = error
            self.began = 0.0
        self.current = ""
        self.done.set()


class Rounds(Generic[T]):
    """Runs rounds of named calls."""

    def __init__(self, patience_seconds: float, limit_seconds: float) -> None:
        """`patience_seconds` for one call, `limit_seconds` for all of a round."""
        self._patience = patience_seconds
        self._limit = limit_seconds
        self._stuck: dict[str, _Round[T]] = {}
        self._queue: queue.SimpleQueue[_Round[T] | None] | None = None

    def run(self, calls: Mapping[str, Callable[[], T]]) -> dict[str, T | Exception]:
        """What each call gave or raised; TimeoutError where it did not end, or could not begin, in time."""
        self._stuck = {name: held for name, held in self._stuck.items() if not held.done.is_set()}
        todo = {name: call for name, call in calls.items() if name not in self._stuck}
        outcomes: dict[str, T | Exception] = {}
        until = time.monotonic() + self._limit
        while todo:
            current = _Round(todo)
            self._worker().put(current)
            self._wait(current, until)
            if current.done.is_set():
                outcomes |= current.outcomes
                break
            outcomes |= self._abandon(current)
            rest = {} if time.monotonic() >= until else todo
            todo = {name: rest[name] for name in rest if name not in outcomes and name not in self._stuck}
        late = TimeoutError("the driver does not answer")
        return {name: outcomes.get(name, late) for name in calls}

    def stuck(self) -> frozenset[str]:
        """Names of calls that have not returned."""
        return frozenset(name for name, held in self._stuck.items() if not held.done.is_set())

    def close(self) -> None:
        """Let the thread end; those left behind end with the process."""
        if self._queue is not None:
            self._queue.put(None)
            self._queue = None

    def _wait(self, current: _Round[T], until: float) -> None:
        while not current.done.is_set():
            now = time.monotonic()
            began = current.began or now
            pause = min(began + self._patience, until) - now
            if pause <= 0:
                return
            current.done.wait(pause)

    def _abandon(self, current: _Round[T]) -> dict[str, T | Exception]:
        """Leave the thread in its call; what waits behind is taken from it."""
        current.waiting.clear()
        self.close()
        if current.current:
            self._stuck[current.current] = current
        return dict(current.outcomes)

    def _worker(self) -> queue.SimpleQueue[_Round[T] | None]:
        if self._queue is None:
            self._queue = queue.SimpleQueue()
            threading.Thread(target=_serve, args=(self._queue,), name="rdma-reader", daemon=True).start()
        return self._queue


def _serve(rounds: queue.SimpleQueue[_Round[T] | None]) -> None:
    while (current := rounds.get()) is not None:
        current.work()
