from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from paceline_agent.doctor.training import examine
from paceline_agent.doctor.visit import Visit


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory on PATH."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.delenv("PACELINE_ATTACH", raising=False)
    return directory


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_hooks_load_in_the_python_on_the_path(visit: Callable[..., Visit], path: Path) -> None:
    python = script(path / "python", f'exec {sys.executable} "$@"')
    [found] = examine(visit())
    version = ".".join(map(str, sys.version_info[:3]))
    assert found.status in ("ok", "absent")
    assert found.seen.startswith(f"{python}, Python {version}: hooks load; ")


@pytest.mark.parametrize("option", ["-I", "-E", "-S"])
def test_a_python_that_ignores_us(visit: Callable[..., Visit], path: Path, option: str) -> None:
    script(path / "python", f'exec {sys.executable} {option} "$@"')
    [found] = examine(visit())
    assert (found.status, found.why) == ("limited", "its start-up ignores PYTHONPATH")
    assert "without -I, -E, -S" in found.fix


def test_a_python_that_does_not_start(visit: Callable[..., Visit], path: Path) -> None:
    script(path / "python3", "exit 3")
    [found] = examine(visit())
    assert (found.status, found.seen) == ("limited", f"{path / 'python3'} does not start")
