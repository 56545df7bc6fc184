"""docs/metrics.md, from the families: `python -m paceline_agent.metrics_page > docs/metrics.md`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from paceline_exporters.metrics import Family
from paceline_exporters.metrics_table import table
from paceline_exporters.sources import discover
from paceline_exporters.sources.contract import World
from paceline_exporters.sources.gpu.child.groups import PERIODS
from paceline_exporters.sources.gpu.source import GpuSource

from .diagnosis.runs import Runs
from .diagnosis.source import DiagnosisSource
from .itself import Itself

HEAD = """# Metrics

Made from the code by `python -m paceline_agent.metrics_page > docs/metrics.md`; a test holds the two together.

`/metrics` speaks the Prometheus text format and OpenMetrics. Units are base units. Counters never go down while
the agent runs. What is unknown is absent, never 0; events that are rare start at 0. A source that fails, hangs or
grows stale (older than twice its period, and than 3 s) loses its own series only, and
`paceline_agent_source_success` says so. `/metrics?name[]=NAME` asks for one source or one family, with its
`_total` or `_info` or without.
The tuner's own are in [tuner-metrics.md](tuner-metrics.md).
"""


OLDER = {
    GpuSource.name: f" The driver is asked every {min(PERIODS.values()):g} to {max(PERIODS.values()):g} s, by "
    "how soon what it says changes."
}
"""By source: what is not read anew with each sample."""


def page() -> str:
    """The whole page."""
    world = World()
    owners: list[tuple[str, str, Sequence[Family]]] = [
        (source.name, f"Sampled every {source.period_seconds:g} s.{OLDER.get(source.name, '')}", source.families)
        for source in (*discover(world), DiagnosisSource(Runs(world.followers, lambda _: {})))
    ]
    owners.append((Itself.name, "Sampled by each scrape.", Itself.families))
    return HEAD + "".join(f"\n## {name}\n\n{when}\n\n{table(families)}" for name, when, families in owners)


if __name__ == "__main__":
    sys.stdout.write(page())
