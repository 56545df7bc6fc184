"""The agent's own metrics: how its sources fare, what it costs, what became of its reports.

Sampled by the scrape itself, so that it is always there and always fresh.
"""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from paceline_exporters.metrics import Distribution, Family, Samples, Value

from .access import Access
from .reporter import Reporter
from .ringlist import RingList
from .sampler import Sampler

NAME = "agent"
SCRAPE_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
SCRAPE_RESULTS = ("ok", "bad_request", "slow_client")
_STATM, _DESCRIPTORS = Path("/proc/self/statm"), "/proc/self/fd"
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def _family(name: str, text: str, kind: str = "gauge", unit: str = "", *labels: str) -> Family:
    return Family(f"paceline_agent_{name}", text, kind, unit, labels)  # type: ignore[arg-type] # literals below


INFO = _family("info", "This agent.", "info", "", "version", "python", "node")
SUCCESS = _family(
    "source_success", "1 if the source's latest sample was good and in time.", "gauge", "", "source"
)
DURATION = _family("source_duration_seconds", "Time the latest sample took.", "gauge", "seconds", "source")
AGE = _family("source_age_seconds", "Age of the sample that is served.", "gauge", "seconds", "source")
LAST_SUCCESS = _family(
    "source_last_success_timestamp_seconds", "Unix time of the latest good sample.", "gauge", "seconds", "source"
)
FAILURES = _family("source_failures_total", "Failed samples by class.", "counter", "", "source", "error")
SERIES = _family("source_series", "Series served; 0 when the sample is stale.", "gauge", "", "source")
DROPPED = _family(
    "source_series_dropped_total", "Series over the budget, summed over samples.", "counter", "", "source"
)
CPU = _family("cpu_seconds_total", "CPU time of the agent.", "counter", "seconds")
MEMORY = _family("resident_memory_bytes", "Resident memory of the agent.", "gauge", "bytes")
FILES = _family("open_files", "File descriptors the agent holds.")
LAG = _family("loop_lag_seconds", "How late the event loop last woke.", "gauge", "seconds")
SCRAPES = _family("scrapes_total", "Scrapes by result.", "counter", "", "result")
SCRAPE_SECONDS = _family("scrape_duration_seconds", "Time to make a scrape's answer.", "histogram", "seconds")
WEB_CONFIG = _family(
    "web_config_reload_success", "1 if the web configuration in use is the one in its files now."
)
RINGS_REMOVED = _family(
    "rings_removed_total", "Rings removed after nobody held them for the retention.", "counter"
)
REPORTS = _family("reports_total", "Reports to the tuner by what became of them.", "counter", "", "result")
SPOOL_BYTES = _family("spool_bytes", "What waits on disk for the tuner.", "gauge", "bytes")
SPOOL_REPORTS = _family("spool_reports", "Reports that wait on disk for the tuner.")
SPOOL_DROPPED = _family("spool_dropped_total", "Reports removed because the spool was full.", "counter")
SPOOL_CORRUPT = _family("spool_corrupt_total", "Spool files that did not check and were removed.", "counter")


_OF_SOURCES: Mapping[Family, Callable[[Sampler], Value]] = {
    SUCCESS: lambda sampler: None if sampler.success is None else int(sampler.success),
    DURATION: lambda sampler: sampler.duration_seconds,
    AGE: lambda sampler: sampler.age_seconds(),
    LAST_SUCCESS: lambda sampler: sampler.finished.wall if sampler.finished else None,
    SERIES: lambda sampler: section.series if (section := sampler.fresh()) else 0,
    DROPPED: lambda sampler: sampler.dropped,
}


@dataclass
class Scrapes:
    """How scrapes went."""

    results: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SCRAPE_RESULTS, 0))
    seconds: Distribution = field(default_factory=lambda: Distribution(SCRAPE_BOUNDS))


@dataclass
class Itself:
    """The agent as a source; `sample` is called by the scrape, not by a worker."""

    node: str
    samplers: Sequence[Sampler]
    rings: RingList
    reporter: Reporter | None = None
    access: Access | None = None
    scrapes: Scrapes = field(default_factory=Scrapes)
    loop_lag_seconds: float = 0.0

    name = NAME
    families = (
        *(INFO, SUCCESS, DURATION, AGE, LAST_SUCCESS, FAILURES, SERIES, DROPPED, CPU, MEMORY, FILES, LAG),
        *(SCRAPES, SCRAPE_SECONDS, WEB_CONFIG, RINGS_REMOVED),
        *(REPORTS, SPOOL_BYTES, SPOOL_REPORTS, SPOOL_DROPPED, SPOOL_CORRUPT),
    )

    def sample(self) -> Samples:
        """Look at the agent now."""
        samples = Samples()
        samples.add(INFO, 1, own_version(), platform.python_version(), self.node)
        _add_sources(samples, self.samplers)
        _add_process(samples)
        samples.add(LAG, self.loop_lag_seconds)
        for result, count in self.scrapes.results.items():
            samples.add(SCRAPES, count, result)
        samples.add(SCRAPE_SECONDS, self.scrapes.seconds)
        samples.add(RINGS_REMOVED, self.rings.removed)
        if self.access is not None and self.access.watches:
            samples.add(WEB_CONFIG, int(self.access.reload_success))
        if self.reporter is not None:
            _add_reports(samples, self.reporter)
        return samples


@cache
def own_version() -> str:
    """Of the installed distribution."""
    try:
        return version("paceline")
    except PackageNotFoundError:
        return "unknown"


def _add_sources(samples: Samples, samplers: Iterable[Sampler]) -> None:
    by_name = {sampler.source.name: sampler for sampler in samplers}
    for sampler in by_name.values():
        sampler.check_deadline()
    samples.points[FAILURES] = {
        (name, error): count for name, sampler in by_name.items() for error, count in sampler.failures.items()
    }
    for family, read in _OF_SOURCES.items():
        samples.points[family] = {(name,): read(sampler) for name, sampler in by_name.items()}


def _add_process(samples: Samples) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    samples.add(CPU, usage.ru_utime + usage.ru_stime)
    try:
        samples.add(MEMORY, int(_STATM.read_bytes().split()[1]) * _PAGE_BYTES)
        # Linux 6.2 and later tell their number as the directory's size (fs/proc/fd.c).
        samples.add(FILES, os.stat(_DESCRIPTORS).st_size or len(os.listdir(_DESCRIPTORS)))  # noqa: PTH116, PTH208
    except OSError:
        return  # no /proc: what is unknown is absent


def _add_reports(samples: Samples, reporter: Reporter) -> None:
    for result, count in reporter.results.items():
        samples.add(REPORTS, count, result)
    spool = reporter.spool
    samples.add(SPOOL_BYTES, spool.size)
    samples.add(SPOOL_REPORTS, len(spool))
    samples.add(SPOOL_DROPPED, spool.dropped)
    samples.add(SPOOL_CORRUPT, spool.corrupt)
