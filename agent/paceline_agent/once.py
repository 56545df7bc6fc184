"""One scrape without a server."""

from __future__ import annotations

import time
from collections.abc import Sequence

from paceline_exporters.metrics import exposition
from paceline_exporters.sources.contract import Source

from .diagnosis.evidence import NodeEvidence
from .diagnosis.runs import Runs
from .diagnosis.source import DiagnosisSource
from .itself import Itself
from .ringlist import RingList
from .sampler import Sampler
from .settings import Settings
from .web import Exposition


def one_scrape(settings: Settings, sources: Sequence[Source]) -> str:
    """Every source's first sample, or what could be had within its deadline, as text."""
    samplers = [Sampler(source, settings.series_per_source) for source in sources]
    runs = Runs(settings.world.followers, NodeEvidence(samplers).of)
    samplers.append(Sampler(DiagnosisSource(runs), settings.series_per_source))
    for sampler in samplers:
        sampler.start()
    began = time.monotonic()
    for sampler in samplers:
        sampler.done.wait(max(0.0, began + sampler.source.deadline_seconds - time.monotonic()))
    itself = Itself(settings.world.node, samplers, RingList(settings.world.rings))
    text = exposition(Exposition(itself, samplers).sections(), "text").decode()
    for sampler in samplers:
        sampler.stop()
    return text
