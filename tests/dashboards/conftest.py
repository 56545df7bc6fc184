"""What the tests of `dashboards/` share: the files as they are committed, and the names that the code knows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DASHBOARDS = ROOT / "dashboards"
NAMES = ("job", "node", "tuner")
RULES = ("recording", "alerts")


@pytest.fixture(scope="session")
def directory() -> Path:
    """dashboards/."""
    return DASHBOARDS


@pytest.fixture(scope="session")
def dashboards() -> dict[str, dict[str, Any]]:
    """Name -> dashboard."""
    return {name: json.loads((DASHBOARDS / f"{name}.json").read_text()) for name in NAMES}


@pytest.fixture(scope="session")
def rules() -> dict[str, list[dict[str, Any]]]:
    """File -> its rules."""
    files = {name: yaml.safe_load((DASHBOARDS / "rules" / f"{name}.yaml").read_text()) for name in RULES}
    return {name: [rule for group in file["groups"] for rule in group["rules"]] for name, file in files.items()}


@pytest.fixture(scope="session")
def promtool() -> str:
    """The program, or a skip that says how to get it."""
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("promtool is not here: Debian's package prometheus brings it")
    return path


@pytest.fixture(scope="session")
def metrics(rules: dict[str, list[dict[str, Any]]]) -> dict[str, set[str] | None]:
    """Name of each series that there may be -> its labels; None: any. Prometheus's own among them."""
    from paceline_agent.diagnosis.source import DiagnosisSource
    from paceline_agent.itself import Itself
    from paceline_exporters.sources import discover
    from paceline_exporters.sources.contract import World
    from paceline_tuner.service.metrics import FAMILIES

    known: dict[str, set[str] | None] = {"up": {"job", "instance"}}
    families = [family for source in discover(World()) for family in source.families]
    for family in (*families, *DiagnosisSource.families, *Itself.families, *FAMILIES):
        labels = {*family.labels, "job", "instance"}
        known[family.name] = labels
        if family.type == "histogram":
            known |= {f"{family.name}_bucket": labels | {"le"}}
            known |= {f"{family.name}_{part}": labels for part in ("sum", "count")}
    return known | dict.fromkeys(rule["record"] for rule in rules["recording"])


@pytest.fixture(scope="session")
def expressions(
    dashboards: dict[str, dict[str, Any]], rules: dict[str, list[dict[str, Any]]]
) -> Callable[[], list[tuple[str, str]]]:
    """Where each PromQL expression stands, and the expression with every variable filled in."""
    from paceline_dashboards.reading import asked, filled

    chosen = {"run_id": "run-1", "rank": ".*", "study": ".*", "node": "node-a", "instance": ".*"}
    values = {**chosen, "__rate_interval": "1m", "__range": "1h"}

    def find() -> list[tuple[str, str]]:
        panels = [
            (f"{name}.json: {one.title} {one.ref}", filled(one.expression, values))
            for name, dashboard in dashboards.items()
            for one in asked(dashboard)
        ]
        rest = [
            (f"{name}.yaml: {rule.get('alert') or rule['record']}", rule["expr"])
            for name, found in rules.items()
            for rule in found
        ]
        return panels + rest

    return find
