"""What is written from the code, and where."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from . import alerts, job, node, recording, tuner

DASHBOARDS = Path(__file__).parents[1]
HEAD = "# Made from dashboards/paceline_dashboards by `python -m paceline_dashboards`.\n"


def contents() -> Mapping[str, str]:
    """Path below dashboards/ -> text."""
    return {
        "job.json": _json(job.dashboard()),
        "node.json": _json(node.dashboard()),
        "tuner.json": _json(tuner.dashboard()),
        "rules/recording.yaml": _yaml(recording.document()),
        "rules/alerts.yaml": _yaml(alerts.document()),
    }


def _json(dashboard: object) -> str:
    return json.dumps(dashboard, cls=JSONEncoder, indent=1, ensure_ascii=False) + "\n"


def _yaml(document: Mapping[str, Any]) -> str:
    return HEAD + yaml.safe_dump(document, sort_keys=False, width=110, allow_unicode=True)
