"""docs/watching.md: what it shows does what it says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
LOOP = """
import sys, time
loss, evaluate = 0.5, lambda: time.sleep(0.05)
for _ in range(4):
    time.sleep(0.01)
"""


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs" / "watching.md").read_text()


def test_its_lines_say_when_a_step_ends(page: str, attached: Callable[..., Any]) -> None:
    says, pauses = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    told = attached(LOOP + indent(pauses + says, "    ") + "print('RESULT 1')")
    assert (told.printed(), told.notices()) == (1, []), told.output
    (ring,) = told.rings
    assert [(row["samples"], row["tokens"], row["loss"]) for row in ring.steps] == [(8, 4096, 0.5)] * 3
    assert all(row["evaluation_seconds"] >= 0.05 and row["step_seconds"] >= 0.01 for row in ring.steps)


def test_its_variables_are_those_that_the_code_reads(page: str) -> None:
    named = set(re.findall(r"`(PACELINE_\w+)`", page))
    assert named == {"PACELINE_RING_DIR", "PACELINE_RUN_ID", "PACELINE_NODE", "PACELINE_DDP_SAMPLE_EVERY"}
    code = "".join(path.read_text() for path in (ROOT / "exporters").rglob("*.py"))
    assert [name for name in named if f'"{name}"' not in code] == []
