"""Every source samples for real, as in the agent: doctor and agent cannot disagree."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from paceline_exporters.metrics import Family, Labels, Value
from paceline_exporters.sources.contract import Source

ROUNDS = 2
"""At least: the first shows the sources each other, through the board."""
REST_SECONDS = 0.5
"""Between further rounds."""


@dataclass
class Sampled:
    """What one source gave."""

    problem: Exception | None = None
    """Of the last round: raised, or served along with the samples."""
    points: Mapping[Family, Mapping[Labels, Value]] = field(default_factory=dict)

    def of(self, family: Family) -> dict[Labels, float]:
        """Label values -> the known numbers of a family."""
        points = self.points.get(family, {})
        return {labels: value for labels, value in points.items() if isinstance(value, int | float)}

    def one(self, family: Family) -> float | None:
        """The number of a family without labels."""
        return self.of(family).get(())


Settled = Callable[[Mapping[str, Sampled], float], bool]
"""Whether all has been seen that will be, from what was given so far, in so many seconds."""


def sample_all(
    sources: Sequence[Source], seconds: float, settled: Settled = lambda *_: True
) -> dict[str, Sampled]:
    """Source name -> what it gave, in at most `seconds` in all. One that hangs is left behind."""
    began = time.monotonic()
    workers = {source.name: _Worker(source) for source in sources}
    for number in itertools.count(1):
        for worker in workers.values():
            worker.begin()
        for worker in workers.values():
            worker.wait(began + seconds / ROUNDS * min(number, ROUNDS))
        if number >= ROUNDS:
            passed = time.monotonic() - began
            sampled = {name: worker.sampled for name, worker in workers.items()}
            if passed + REST_SECONDS >= seconds or settled(sampled, passed):
                break
            time.sleep(REST_SECONDS)
    return {name: worker.finish() for name, worker in workers.items()}


class _Worker:
    """Samples in one thread, as the agent does: a child process may end with the thread that started it, and not
    with the process alone (prctl(2), PR_SET_PDEATHSIG)."""

    def __init__(self, source: Source) -> None:
        self.sampled = Sampled()
        self._source = source
        self._asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._idle = threading.Event()
        self._idle.set()
        self._began = 0.0
        threading.Thread(target=self._work, name=f"doctor-{source.name}", daemon=True).start()

    def begin(self) -> None:
        if self._idle.is_set():  # never asked twice at once
            self._idle.clear()
            self._began = time.monotonic()
            self._asked.put(True)

    def wait(self, until: float) -> None:
        self._idle.wait(max(0.0, min(until, self._began + self._source.deadline_seconds) - time.monotonic()))

    def finish(self) -> Sampled:
        if not self._idle.is_set():
            return Sampled(TimeoutError(f"no sample within {self._source.deadline_seconds:g} s"))
        self._source.close()
        self._asked.put(False)
        return self.sampled

    def _work(self) -> None:
        while self._asked.get():
            try:
                samples = self._source.sample()
            except Exception as error:  # noqa: BLE001 - the boundary of a source: it may raise anything
                self.sampled = Sampled(error)
            else:
                self.sampled = Sampled(samples.problem, samples.points)
            self._idle.set()
