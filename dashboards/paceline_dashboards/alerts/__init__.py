"""The alerts. Each has a section in docs/alerts.md that says what it means and what to do."""

from __future__ import annotations

from typing import Any

from .agents import AGENTS
from .alert import Alert
from .fabric import FABRIC
from .gpus import GPUS
from .hosts import HOSTS
from .runs import RUNS
from .tuner import TUNER

ALERTS: tuple[Alert, ...] = (*RUNS, *GPUS, *FABRIC, *HOSTS, *AGENTS, *TUNER)


def document() -> dict[str, Any]:
    """As Prometheus reads it."""
    return {"groups": [{"name": "paceline-alerts", "rules": [alert.rule() for alert in ALERTS]}]}
