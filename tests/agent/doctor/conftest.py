"""A visit to a machine of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from paceline_agent.doctor import driver, fetch, training
from paceline_agent.doctor.place import Place
from paceline_agent.doctor.visit import Visit
from paceline_exporters.sources.contract import World

HOST = Place("host", "paceline", 990, frozenset({990}), frozenset(), host_processes=True)

StartVisit = Callable[..., Visit]


@pytest.fixture
def host() -> Place:
    """An agent that runs on the host as a user of its own."""
    return HOST


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked answers, however busy the machine is."""
    monkeypatch.setattr(training, "SECONDS", 60.0)
    monkeypatch.setattr(driver, "LOAD_SECONDS", 60.0)
    monkeypatch.setattr(fetch, "SECONDS", 60.0)


@pytest.fixture
def visit(tmp_path: Path) -> StartVisit:
    """A visit to an empty machine below `tmp_path`: `visit(kind="pod", tuner_url=...)`."""
    world = World(tmp_path / "proc", tmp_path / "sys", tmp_path / "root", tmp_path / "rings", "node-a")
    for path in (world.procfs, world.sysfs, world.rootfs):
        path.mkdir()

    def start(place: Place = HOST, **changes: object) -> Visit:
        base = Visit(
            world,
            place,
            listen_address="127.0.0.1:0",
            spool_directory=tmp_path / "spool",
            state_directory=tmp_path / "state",
        )
        return replace(base, **changes)  # type: ignore[arg-type]

    return start
