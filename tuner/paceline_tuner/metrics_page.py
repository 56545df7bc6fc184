"""docs/tuner-metrics.md, from the families: `python -m paceline_tuner.metrics_page > docs/tuner-metrics.md`."""

from __future__ import annotations

import sys

from paceline_exporters.metrics_table import table

from .service.census import MOST_STUDIES
from .service.metrics import FAMILIES

HEAD = f"""# The tuner's metrics

Made from the code by `python -m paceline_tuner.metrics_page > docs/tuner-metrics.md`; a test holds the two
together.

`/metrics` of `paceline serve` speaks the Prometheus text format. What is unknown is absent, never 0; ways in
which runs may end are counted from 0 in every study, so that the first one is seen. The database is counted at
most once a second. Only the latest {MOST_STUDIES} studies, those that go on first, have series of their own.

"""


def page() -> str:
    """The whole page."""
    return HEAD + table(FAMILIES)


if __name__ == "__main__":
    sys.stdout.write(page())
