from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from paceline_exporters import cli


def paceline(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "paceline_exporters", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_without_a_command_it_lists_them() -> None:
    told = paceline()
    assert told.returncode == 0
    assert "paceline COMMAND --help" in told.stdout
    for name in ("run", "agent", "serve", "tune"):
        assert cli.SUMMARIES[name] in told.stdout


def test_an_unknown_command_names_the_known_ones() -> None:
    told = paceline("rum")
    assert told.returncode == 2
    assert "no command 'rum'; the commands are run, agent" in told.stderr


def test_the_version_is_the_distributions() -> None:
    assert paceline("--version").stdout.startswith("paceline 0.")


def test_a_commands_own_help_is_its_own() -> None:
    told = paceline("run", "--help")
    assert told.returncode == 0
    assert "paceline run -- torchrun" in told.stdout


def test_a_status_is_passed_through() -> None:
    assert paceline("run", "--quiet", "--", sys.executable, "-c", "raise SystemExit(3)").returncode == 3


@pytest.fixture(
    params=[
        "import package_that_nobody_has\n",
        "def configure(parser): pass\ndef run(args): import package_that_nobody_has\n",
    ],
    ids=["imported", "run"],
)
def command(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EntryPoint:
    """A subcommand whose module wants a package that is not there, at once or when it runs."""
    package = tmp_path / "paceline_tuner_sample"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "wants.py").write_text(request.param)
    for name in ("paceline_tuner_sample", "paceline_tuner_sample.wants"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(cli.EXTRAS, "paceline_tuner_sample", "tuner")
    return EntryPoint("sample", "paceline_tuner_sample.wants", cli.GROUP)


def test_a_missing_extra_gives_one_line_that_says_what_to_install(
    command: EntryPoint, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli._run(command, []) == 2
    said = capsys.readouterr().err
    assert said == (
        "paceline sample needs the package package_that_nobody_has: run `pip install 'paceline[tuner]'`\n"
    )
