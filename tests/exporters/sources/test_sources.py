from __future__ import annotations

from pathlib import Path

import pytest

from paceline_exporters.sources import discover
from paceline_exporters.sources.contract import Source, World

SOURCES = discover(World())
SOURCE_NAMES = ["cgroups", "ethtool", "gpu", "host", "mounts", "nccl", "owners", "rails", "rdma", "steps"]


def test_every_module_with_create_is_a_source() -> None:
    assert [source.name for source in SOURCES] == SOURCE_NAMES


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: str(source.name))
def test_conformance(source: Source, tmp_path: Path) -> None:
    """Holds for every source: what it samples is declared, and it fits its own clock."""
    assert source.deadline_seconds > 0
    assert source.period_seconds >= 0.5
    declared = {family.name for family in source.families}
    assert {family.name for family in source.sample().points} <= declared
    for family in source.families:
        assert family.name.startswith("paceline_")
        assert family.help.endswith(".")
    for family, points in source.sample().points.items():
        assert {len(labels) for labels in points} == {len(family.labels)}, family.name
