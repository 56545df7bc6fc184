"""The architecture's sentence: agent -> exporters <- tuner, and what runs in a training process stands alone."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {f"paceline_{name}": ROOT / name / f"paceline_{name}" for name in ("agent", "tuner", "exporters")}
ATTACH = PACKAGES["paceline_exporters"] / "attach"


def imported(path: Path) -> Iterator[str]:
    """Top-level names that a file imports absolutely."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").partition(".")[0]


def package_of(path: Path) -> set[str]:
    return {name for file in path.rglob("*.py") for name in imported(file)}


@pytest.mark.parametrize(
    ("package", "never"),
    [
        ("paceline_agent", {"paceline_tuner", "optuna", "sqlalchemy", "torch", "transformers"}),
        ("paceline_tuner", {"paceline_agent", "pynvml"}),
        ("paceline_exporters", {"paceline_agent", "paceline_tuner", "aiohttp", "optuna", "sqlalchemy", "torch"}),
    ],
)
def test_who_never_imports_whom(package: str, never: set[str]) -> None:
    assert not package_of(PACKAGES[package]) & never


def test_what_runs_in_the_training_process_is_standard_library_and_itself() -> None:
    assert package_of(ATTACH) <= set(sys.stdlib_module_names)


def test_it_stays_inside_its_directory() -> None:
    for path in ATTACH.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.ImportFrom) and node.level > 1), f"{path.name} imports from above"


def test_it_is_written_for_python_3_9() -> None:
    for path in ATTACH.rglob("*.py"):
        ast.parse(path.read_text(), feature_version=(3, 9))
        assert "from __future__ import annotations" in path.read_text() or path.name == "__init__.py"


def test_paceline_run_needs_the_standard_library_only() -> None:
    agent, exporters = PACKAGES["paceline_agent"], PACKAGES["paceline_exporters"]
    used = [*(agent / "supervise").glob("*.py"), agent / "commands" / "run.py"]
    used += [agent / name for name in ("peer.py", "reports.py")]
    used += [exporters / name for name in ("cli.py", "subcommands.py", "messages.py", "rings.py")]
    names = {name for path in used for name in imported(path)}
    assert names <= set(sys.stdlib_module_names) | {"paceline_exporters"}
