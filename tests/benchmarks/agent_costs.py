"""What exporters cost and how fast they answer, all of them in the same minutes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from exporter_process import SERIES, Exporter

SETTLE_SECONDS = 6.0
IDLE_SECONDS = 20.0
PERIOD_SECONDS = 5.0
PERIODS = 9
SCRAPES = 250
GAP_SECONDS = 0.1

Exporters = Mapping[str, Exporter]


def costs(exporters: Exporters) -> dict[str, dict[str, Any]]:
    """Figures by exporter. CPU: in percent of one core, without scrapes and with one each 5 s; per scrape, what a
    minute of frequent scrapes takes beyond the time without."""
    time.sleep(SETTLE_SECONDS)
    idle = _shares(exporters, lambda: time.sleep(IDLE_SECONDS))
    regular = _shares(exporters, lambda: _scraped_regularly(exporters))
    taken: dict[str, list[float]] = {name: [] for name in exporters}
    began = time.monotonic()
    busy = _shares(exporters, lambda: _take_turns(exporters, taken))
    elapsed = time.monotonic() - began
    return {
        name: {
            "series": len(SERIES.findall(exporter.scrape())),
            "scrape_p50_ms": round(statistics.median(taken[name]) * 1e3, 3),
            "scrape_p99_ms": round(percentile_99(taken[name]) * 1e3, 3),
            "scrapes": len(taken[name]),
            "cpu_percent": round(regular[name] * 100, 3),
            "cpu_percent_idle": round(idle[name] * 100, 3),
            "cpu_ms_per_scrape": round((busy[name] - idle[name]) * elapsed / len(taken[name]) * 1e3, 3),
            "rss_mib": round(exporter.resident_mib(), 1),
            "rss_once_mib": round(exporter.resident_once_mib(), 1),
            "pss_mib": round(exporter.proportional_mib(), 1),
        }
        for name, exporter in exporters.items()
    }


def regular_cpu_percent(exporter: Exporter) -> float:
    """Of one core, scraped each 5 s, once it has settled."""
    time.sleep(SETTLE_SECONDS)
    exporters = {"": exporter}
    return round(_shares(exporters, lambda: _scraped_regularly(exporters))[""] * 100, 3)


def percentile_99(values: list[float]) -> float:
    """The 99th percentile."""
    return statistics.quantiles(values, n=100)[98]


def _shares(exporters: Exporters, meanwhile: Callable[[], None]) -> dict[str, float]:
    """CPU seconds per second of each while `meanwhile` runs."""
    before, began = {name: one.cpu_seconds() for name, one in exporters.items()}, time.monotonic()
    meanwhile()
    elapsed = time.monotonic() - began
    return {name: (one.cpu_seconds() - before[name]) / elapsed for name, one in exporters.items()}


def _scraped_regularly(exporters: Exporters) -> None:
    for _ in range(PERIODS):
        for exporter in exporters.values():
            exporter.scrape()
        time.sleep(PERIOD_SECONDS)


def _take_turns(exporters: Exporters, taken: Mapping[str, list[float]]) -> None:
    for _ in range(SCRAPES):
        for name, exporter in exporters.items():
            time.sleep(GAP_SECONDS)
            taken[name].append(exporter.timed())
