"""The wheel that images are made of, installed into a fresh environment as the recipe does."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
OFFLINE = ("Failed to establish a new connection", "Temporary failure in name resolution", "Max retries exceeded")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(*command: str | Path) -> str:
    """Its output; fails with what it said."""
    # What PYTHONPATH brings would count as installed.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, cwd=ROOT, env=environment
    )
    if done.returncode != 0 and any(words in done.stderr for words in OFFLINE):
        pytest.skip("no package index can be reached from here")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel."""
    directory = tmp_path_factory.mktemp("wheels")
    run(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps", "-w", directory, "."
    )
    (found,) = directory.glob("*.whl")
    return found


def test_wheel_holds_what_is_read_as_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    needed = {
        "paceline_exporters/attach/path/sitecustomize.py",
        "paceline_tuner/demo/train.py",
        "paceline_tuner/service/migrations/env.py",
        "paceline_tuner/service/migrations/versions/start.py",
        *(f"{package}/py.typed" for package in ("paceline_agent", "paceline_exporters", "paceline_tuner")),
    }
    assert needed <= names
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {
        "paceline_agent",
        "paceline_exporters",
        "paceline_tuner",
    }


def test_wheel_declares_every_command(wheel: Path, project: dict[str, Any]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [one for one in archive.namelist() if one.endswith("entry_points.txt")]
        text = archive.read(name).decode()
    assert "[console_scripts]\npaceline = paceline_exporters.cli:main" in text
    for command, module in project["entry-points"]["paceline.commands"].items():
        assert f"{command} = {module}" in text


def test_agent_target_installs_and_runs_with_no_more_than_its_extra(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "paceline", with_pip=False)
    python = tmp_path / "paceline" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    run(*pip, "install", "--quiet", "--constraint", "constraints.txt", f"{wheel}[agent]")
    installed = {line.partition("==")[0].lower() for line in run(*pip, "freeze").splitlines()}
    assert {"aiohttp", "psutil"} <= installed
    assert not installed & {"torch", "optuna", "sqlalchemy", "numpy"}
    page = run(
        python, "-I", "-m", "paceline_exporters", "agent", "--once", "--rings.directory", tmp_path / "rings"
    )
    assert "paceline_host_cpus" in page
    (attach,) = (tmp_path / "paceline" / "lib").glob("python3.*/site-packages/paceline_exporters/attach")
    assert (attach / "path" / "sitecustomize.py").is_file()
