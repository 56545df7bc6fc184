from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from paceline_exporters import subcommands


def paceline(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "paceline_exporters", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_without_a_command_it_lists_them() -> None:
    told = paceline()
    assert told.returncode == 0
    assert "paceline COMMAND --help" in told.stdout
    for name in ("run", "agent", "serve", "tune"):
        assert subcommands.SUMMARIES[name] in told.stdout


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


def test_a_default_that_says_nothing_is_left_out() -> None:
    assert "(default: None)" not in paceline("agent", "--help").stdout
    assert "$PACELINE_RING_DIR" in paceline("run", "--help").stdout


def test_a_status_is_passed_through() -> None:
    assert paceline("run", "--quiet", "--", sys.executable, "-c", "raise SystemExit(3)").returncode == 3


ENDS = """
import os, signal, socket, sys
from paceline_exporters import cli, subcommands

class Interrupted:
    def find_spec(self, name, *_):
        if name == "paceline_agent.commands.explain":
            os.kill(os.getpid(), signal.SIGINT)

def interrupted():
    sys.meta_path.insert(0, Interrupted())
    return subcommands_run(["explain"])

def broken():
    one, other = socket.socketpair()
    other.close()
    one.send(b"x")

def missing():
    sys.stdout.write("so far ")
    open("/no/such/file")

subcommands_run, chosen = subcommands.run, globals()[sys.argv[1]]
subcommands.run = lambda arguments: chosen()
sys.exit(cli.main(["explain"]))
"""


@pytest.mark.parametrize(
    ("how", "status", "said", "wrong"),
    [
        ("interrupted", 130, "", ""),
        ("broken", 1, "", "paceline explain: [Errno 32] Broken pipe\n"),
        ("missing", 1, "so far ", "paceline explain: [Errno 2] No such file or directory: '/no/such/file'\n"),
    ],
)
def test_interruptions_are_quiet_and_errors_of_the_system_one_line(
    how: str, status: int, said: str, wrong: str
) -> None:
    done = subprocess.run([sys.executable, "-c", ENDS, how], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (status, said, wrong)


@pytest.mark.parametrize(
    ("words", "unbuffered"), [(("run", "--help"), ""), (("agent", "--once"), ""), (("agent", "--once"), "1")]
)
def test_output_that_is_not_taken(words: tuple[str, ...], unbuffered: str) -> None:
    command = [sys.executable, "-m", "paceline_exporters", *words]
    variables = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    read, written = os.pipe()
    os.close(read)
    with Path("/dev/full").open("w") as full, os.fdopen(written, "w") as deserted:
        ends = [
            subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, env=variables, check=False)
            for out in (full, deserted)
        ]
    assert [(end.returncode, end.stderr) for end in ends] == [
        (1, f"paceline {words[0]}: [Errno 28] No space left on device\n"),
        (141, ""),
    ]


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
    monkeypatch.setitem(subcommands.EXTRAS, "paceline_tuner_sample", "tuner")
    return EntryPoint("sample", "paceline_tuner_sample.wants", subcommands.GROUP)


def test_a_missing_extra_gives_one_line_that_says_what_to_install(
    command: EntryPoint, capsys: pytest.CaptureFixture[str]
) -> None:
    assert subcommands._run(command, []) == 2
    said = capsys.readouterr().err
    assert said == (
        "paceline sample needs the package package_that_nobody_has: run `pip install 'paceline[tuner]'`\n"
    )
