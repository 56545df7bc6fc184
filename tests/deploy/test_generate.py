"""deploy/kubernetes/generate.py: rules and dashboards in the base are those of dashboards/."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from paceline_agent.diagnosis.source import DiagnosisSource
from paceline_agent.itself import Itself
from paceline_exporters.sources import discover
from paceline_exporters.sources.contract import World
from paceline_tuner.service.metrics import FAMILIES

Object = dict[str, Any]
SUFFIXES = ("_bucket", "_sum", "_count")


@pytest.fixture(scope="module")
def generate(deploy: Path) -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("generate", deploy / "kubernetes" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_committed_is_what_it_makes(generate: ModuleType, deploy: Path) -> None:
    for name, objects in generate.files().items():
        committed = (deploy / "kubernetes" / "base" / "monitoring" / name).read_text()
        assert committed == generate.text(objects), "run `python deploy/kubernetes/generate.py`"


def test_text_survives_the_way_through_yaml(generate: ModuleType) -> None:
    for objects in generate.files().values():
        assert list(yaml.safe_load_all(generate.text(objects))) == objects


def test_dashboards_are_json(generate: ModuleType) -> None:
    for found in generate.config_maps():
        for text in found["data"].values():
            assert json.loads(text)["panels"]


def test_rules_name_metrics_that_exist(generate: ModuleType, tmp_path: Path) -> None:
    rules = [rule for group in generate.prometheus_rule()["spec"]["groups"] for rule in group["rules"]]
    recorded = {rule["record"] for rule in rules if "record" in rule}
    assert rules
    for rule in rules:
        words = re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.sub(r'"[^"]*"', '""', rule["expr"]))
        used = {word for word in words if "paceline_" in word}
        assert used <= recorded | known(tmp_path), rule


def known(directory: Path) -> set[str]:
    """All series that agent and tuner may serve."""
    sources = discover(World(rings=directory))
    families = [
        *DiagnosisSource.families,
        *Itself.families,
        *FAMILIES,
        *(family for source in sources for family in source.families),
    ]
    histograms = [family.name for family in families if family.type == "histogram"]
    return {family.name for family in families} | {name + suffix for name in histograms for suffix in SUFFIXES}


def test_every_yaml_file_of_deploy_parses(load: Callable[[Path], list[Object]], deploy: Path) -> None:
    files = [*deploy.rglob("*.yaml"), *deploy.rglob("*.yml")]
    assert len(files) > 20
    for path in files:
        assert load(path), path
