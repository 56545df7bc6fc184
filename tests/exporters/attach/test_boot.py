from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paceline_exporters.attach.boot import is_helper

PEEK = """
import json, sys
print("RESULT " + json.dumps({
    "ours": sorted(name for name in sys.modules if "paceline" in name),
    "finders": [type(finder).__module__ for finder in sys.meta_path],
    "path": sys.path,
    "said": getattr(sys, "said", None),
    "sitecustomize": getattr(sys.modules.get("sitecustomize"), "__file__", None),
}))
"""
HOOKED = "_paceline_attach.imports"


def test_every_python_gets_the_hooks_and_nothing_else_of_ours(attached: Callable[..., Any]) -> None:
    seen = attached(PEEK).printed()
    assert HOOKED in seen["finders"]
    assert {name.split(".")[0] for name in seen["ours"]} == {"_paceline_attach", "paceline_step"}
    assert not {"torch", "transformers", "aiohttp"} & set(seen["ours"])


def test_the_switch_leaves_a_process_alone(attached: Callable[..., Any]) -> None:
    assert HOOKED not in attached(PEEK, environment={"PACELINE_ATTACH": "0"}).printed()["finders"]


@pytest.mark.parametrize(
    "argv",
    [
        ["python", "-s", "-c", "from multiprocessing.resource_tracker import main;main(4)"],
        ["python", "-c", "from multiprocessing.semaphore_tracker import main;main(4)"],
    ],
)
def test_multiprocessings_own_interpreters_are_helpers(argv: list[str]) -> None:
    assert is_helper(argv)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["python", "train.py"],
        ["python", "-m", "torch.distributed.run", "train.py"],
        [
            "python",
            "-c",
            "from multiprocessing.spawn import spawn_main; spawn_main(fd=5)",
            "--multiprocessing-fork",
        ],
    ],
)
def test_other_interpreters_are_none(argv: list[str]) -> None:
    assert not is_helper(argv)


def users_own(directory: Path, text: str) -> str:
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(text)
    return str(directory)


def test_the_users_own_sitecustomize_runs_after_ours(
    attached: Callable[..., Any], attach_directory: Path, tmp_path: Path
) -> None:
    own = users_own(tmp_path / "own", "import sys\nsys.said = __name__\n")
    path = os.pathsep.join([str(attach_directory / "path"), own])
    seen = attached(PEEK, environment={"PYTHONPATH": path}).printed()
    assert seen["said"] == "sitecustomize"
    assert seen["sitecustomize"] == str(tmp_path / "own" / "sitecustomize.py")
    assert HOOKED in seen["finders"]


def test_the_users_own_sitecustomize_may_fail_as_it_would_without_us(
    attached: Callable[..., Any], attach_directory: Path, tmp_path: Path
) -> None:
    own = users_own(tmp_path / "own", "raise RuntimeError('of the user')\n")
    with_us = attached(
        "print(1)", environment={"PYTHONPATH": os.pathsep.join([str(attach_directory / "path"), own])}
    )
    without = attached("print(1)", environment={"PYTHONPATH": own})
    assert with_us.status == without.status == 0
    assert with_us.output == without.output


def test_two_attach_paths_hook_once(attached: Callable[..., Any], attach_directory: Path, tmp_path: Path) -> None:
    shutil.copytree(attach_directory, tmp_path / "copy")
    path = os.pathsep.join([str(attach_directory / "path"), str(tmp_path / "copy" / "path")])
    assert attached(PEEK, environment={"PYTHONPATH": path}).printed()["finders"].count(HOOKED) == 1


def bare_python() -> list[str]:
    """An interpreter without our environment's packages."""
    return [str(Path(sys.base_prefix) / "bin" / f"python{sysconfig.get_python_version()}"), "-s"]


def test_the_directory_works_anywhere_and_brings_nothing_of_ours_along(
    attached: Callable[..., Any], attach_directory: Path, tmp_path: Path
) -> None:
    if not Path(bare_python()[0]).exists():
        pytest.skip(f"{bare_python()[0]} does not exist")
    copy = tmp_path / "some where" / "else"
    shutil.copytree(attach_directory, copy, ignore=shutil.ignore_patterns("__pycache__"))
    script = (
        "import importlib.util, json, os, sys\n"
        "from _paceline_attach import session\n"
        "session.event('checkpoint')\n"
        "names = ['paceline_exporters', 'paceline_agent', 'paceline_tuner', 'recorder', 'aiohttp', 'torch']\n"
        "found = [name for name in names if importlib.util.find_spec(name)]\n"
        "print('RESULT ' + json.dumps({'found': found, 'path': sys.path,\n"
        "    'files': sorted({m.__file__ for n, m in sys.modules.items() if 'paceline' in n})}))\n"
    )
    told = attached(script, environment={"PYTHONPATH": str(copy / "path")}, python=bare_python())
    assert told.status == 0, told.output
    seen = told.printed()
    assert seen["found"] == []
    assert not [
        entry for entry in seen["path"] if "site-packages" in entry and entry.startswith(sys.prefix + os.sep)
    ]
    assert all(name.startswith(str(copy)) for name in seen["files"])
    (ring,) = told.rings
    assert ring.kinds() == ["start", "checkpoint"]


BROKEN: dict[str, Callable[[Path], object]] = {
    "a syntax error": lambda copy: (copy / "boot.py").write_text("def ("),
    "a missing file": lambda copy: (copy / "boot.py").unlink(),
    "an empty package": lambda copy: [path.unlink() for path in copy.glob("*.py")],
    "an unreadable byte": lambda copy: (copy / "notice.py").write_bytes(b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_directory_leaves_python_working(
    attached: Callable[..., Any], attach_directory: Path, tmp_path: Path, how: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(attach_directory, copy, ignore=shutil.ignore_patterns("__pycache__"))
    BROKEN[how](copy)
    own = users_own(tmp_path / "own", "import sys\nsys.said = 'own'\n")
    told = attached(PEEK, environment={"PYTHONPATH": os.pathsep.join([str(copy / "path"), own])})
    assert told.status == 0
    assert told.printed()["said"] == "own"
    assert len(told.notices()) == 1
    assert told.notices()[0].startswith("paceline: not attached: ")


def test_a_closed_standard_error_is_no_matter(
    attached: Callable[..., Any], attach_directory: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(attach_directory, copy)
    (copy / "boot.py").write_text("def (")
    command = ["sh", "-c", 'exec "$0" "$@" 2>&-', sys.executable]
    assert (
        attached("print('RESULT 1')", environment={"PYTHONPATH": str(copy / "path")}, python=command).printed()
        == 1
    )


def python39() -> str:
    candidates = [
        shutil.which("python3.9"),
        *map(str, sorted((Path.home() / ".pyenv/versions").glob("3.9*/bin/python3.9"))),
    ]
    for candidate in filter(None, candidates):
        asked = subprocess.run(
            [candidate, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, check=False
        )
        if asked.stdout.strip() == b"(3, 9)":
            return candidate
    pytest.skip("no python3.9 on PATH or under ~/.pyenv")


def test_python_3_9_imports_every_module_and_writes_a_ring(
    attached: Callable[..., Any], attach_directory: Path
) -> None:
    modules = sorted(path.stem for path in attach_directory.glob("*.py") if path.stem != "__init__")
    script = (
        "import importlib, json, math\n"
        f"for name in {modules!r}:\n    importlib.import_module('_paceline_attach.' + name)\n"
        "from _paceline_attach import layout, session\n"
        "ring = session.recorder()\n"
        "ring.step([math.nan] * len(layout.STEP_FIELDS))\n"
        "session.describe(device='cpu')\n"
        "print('RESULT ' + json.dumps(ring.uuid))\n"
    )
    told = attached(script, python=[python39()])
    assert told.status == 0, told.output
    (ring,) = told.rings
    assert len(ring.steps) == 1
    assert ring.header["libraries"]["python"].startswith("3.9.")
    assert ring.header["device"] == "cpu"
