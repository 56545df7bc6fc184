"""A source's worker: its own thread, its own clock, and an honest word on how it fares."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from paceline_exporters.metrics import Renderer, Samples, Section
from paceline_exporters.sources.contract import Source

log = logging.getLogger(__name__)

FRESH_FLOOR_SECONDS = 3.0
"""A sample of a source with a sub-second period may be this old: a busy machine is no reason to lose series."""
TURN_SECONDS = 0.004
"""From one source's turn to the next one's, about what a sample takes: who comes while another is at work waits
for the interpreter, and takes it away from it."""
LEAST_REST = 0.25
"""Of the period."""
DEADLINE = "deadline"
# First match wins.
ERROR_CLASSES: Sequence[tuple[str, type[BaseException]]] = (
    (DEADLINE, TimeoutError),
    ("permission", PermissionError),
    ("missing", FileNotFoundError),
    ("io", OSError),
    ("bug", Exception),
)


@dataclass(frozen=True)
class Finished:
    """The last good sample."""

    section: Section
    samples: Samples
    at: float
    """Monotonic, seconds: when the sample was begun."""
    wall: float
    """Unix time, seconds."""


class Sampler:
    """Samples one source in a daemon thread, so that a source that hangs hangs alone, also at exit."""

    def __init__(
        self,
        source: Source,
        budget: int,
        clock: Callable[[], float] = time.monotonic,
        turn: int = 0,
    ) -> None:
        """`turn`: its place among the sources that are due together."""
        self.source = source
        self.finished: Finished | None = None
        self.success: bool | None = None
        """Of the latest attempt that ended or overran; None before."""
        self.duration_seconds: float | None = None
        self.failures = dict.fromkeys((name for name, _ in ERROR_CLASSES), 0)
        self.done = threading.Event()
        """Set once the first attempt has ended, well or not."""
        self._renderer = Renderer(source.families, budget)
        self._clock = clock
        self._turn_seconds = turn * TURN_SECONDS
        self._began: float | None = None
        self._overran = False
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"source-{source.name}", daemon=True)

    @property
    def dropped(self) -> int:
        """Series left out for want of budget, summed over samples."""
        return self._renderer.dropped

    def start(self) -> None:
        """Begin to sample."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end and close the source; one that hangs is left behind."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)
        if not self._thread.is_alive():
            self.source.close()

    def fresh(self) -> Section | None:
        """The last good sample's section, None when there is none or it is stale."""
        finished = self.finished
        limit = max(2 * self.source.period_seconds, FRESH_FLOOR_SECONDS)
        return finished.section if finished and self._clock() - finished.at <= limit else None

    def age_seconds(self) -> float | None:
        """Of the last good sample."""
        return None if self.finished is None else self._clock() - self.finished.at

    def check_deadline(self) -> None:
        """Notice an attempt that overruns now; called when the source is asked about."""
        with self._lock:
            overrun = self._began is not None and self._clock() - self._began > self.source.deadline_seconds
            if overrun and not self._overran:
                self._overran = True
                self._fail(TimeoutError(f"no sample within {self.source.deadline_seconds} s"))

    def sample_once(self) -> None:
        """One attempt, in the calling thread."""
        began, wall = self._clock(), time.time()
        with self._lock:
            self._began, self._overran = began, False
        try:
            samples = self.source.sample()
            section = self._renderer.render(samples)
        except Exception as error:  # noqa: BLE001 - the boundary of a source: it may raise anything
            with self._lock:
                self._began = None
                self._fail(error)
        else:
            self.check_deadline()
            with self._lock:
                self._began = None
                self.finished = Finished(section, samples, began, wall)
                if samples.problem is not None:
                    self._fail(samples.problem)
                else:
                    self.success = not self._overran
        self.duration_seconds = self._clock() - began
        self.done.set()

    def rest_seconds(self) -> float:
        """Until its turn after the next whole multiple of the period on the clock that all sources share: those
        that are due together find each other's code and data in the caches, at a fraction of the cost alone.

        A source that is as slow as its period has no turn, and rests all the same: it must not eat a whole core.
        """
        period = self.source.period_seconds
        if (self.duration_seconds or 0.0) > (1.0 - LEAST_REST) * period:
            return period * LEAST_REST
        return max(period - (self._clock() - self._turn_seconds) % period, period * LEAST_REST)

    def _fail(self, error: Exception) -> None:
        error_class = next(name for name, kind in ERROR_CLASSES if isinstance(error, kind))
        if self.success is not False:  # once per outage, not once per period
            log.warning(
                "source %s fails (%s): %s; what it missed is absent", self.source.name, error_class, error
            )
        self.success = False
        self.failures[error_class] += 1

    def _work(self) -> None:
        rest = 0.0
        while not self._stopping.wait(rest):
            self.sample_once()
            rest = self.rest_seconds()
