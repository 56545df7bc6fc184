"""docs/deploy.md: what it names exists."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paceline_agent.diagnosis.pages import RUNS
from paceline_agent.web import PAGES
from paceline_exporters.attach import layout
from paceline_tuner.service.routes import ROUTES


@pytest.fixture(scope="module")
def text(deploy: Path) -> str:
    """The page."""
    return (deploy.parent / "docs" / "deploy.md").read_text()


def test_files_exist(text: str, deploy: Path) -> None:
    root = deploy.parent
    named = set(re.findall(r"(?<![\w/])(deploy/[\w./-]+\w)", text))
    linked = set(re.findall(r"\]\(\.\./([^)]+)\)", text))
    assert len(named) > 8 and len(linked) > 4
    # A name that ends before a wildcard stands for what begins with it.
    assert not [name for name in named | linked if not list(root.glob(f"{name}*"))]


def test_ports_and_addresses_are_the_codes(text: str, ports: dict[str, int]) -> None:
    for name, port in ports.items():
        (row,) = [line for line in text.splitlines() if line.startswith("|") and f"| {port} |" in line]
        served = set(re.findall(r"`(/[\w./]+)`", row))
        pages = {*PAGES, *(f"{RUNS}{page}" for page in ("", "/RUN", "/RUN/steps"))}
        known = pages if name == "agent" else {"/v1", *(route.path for route in ROUTES)}
        assert served and served <= known
        assert name == "tuner" or served == pages


def test_flags_exist(text: str, parse: Callable[[list[str]], Any]) -> None:
    ours = "\n".join(line for line in text.splitlines() if not line.startswith("prometheus "))
    flags = set(re.findall(r"--(?:tuner|spool|web|rings)\.[\w.-]+=[^\s,\]`]+", ours))
    assert len(flags) == 4
    parse(["agent", *sorted(flags)])


def test_a_ring_is_as_large_as_it_says(text: str) -> None:
    assert f"A ring takes {layout.FILE_BYTES / 2**20:.1f} MiB" in text
