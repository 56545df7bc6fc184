"""Ranks and agents killed a few times: the many times are tests/benchmarks/step_faults.py itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from paceline_exporters.attach import layout

pytestmark = pytest.mark.slow

FAULTS = Path(__file__).parents[1] / "benchmarks" / "step_faults.py"
SIGKILLS, AGENT_KILLS = 20, 50
LEAST_HANG_SECONDS = 10.0
"""Nothing that lasts less is one."""


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Any:
    output = tmp_path_factory.mktemp("bench") / "steps.json"
    output.write_text('{"attach_ms": 1.0}')
    flags = [
        f"--sigkills={SIGKILLS}",
        f"--agent-kills={AGENT_KILLS}",
        "--visible-seconds=3",
        f"--output={output}",
    ]
    done = subprocess.run([sys.executable, FAULTS, *flags], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return json.loads(output.read_text())


def test_figures_are_added_to_those_of_others(figures: Any) -> None:
    assert figures["attach_ms"] == 1.0


def test_a_rank_killed_at_any_moment_leaves_all_but_one_record(figures: Any) -> None:
    assert figures["sigkills"] == SIGKILLS
    assert figures["sigkill_readable_min"] >= layout.STEP_CAPACITY - 1
    assert figures["torn_undetected"] == 0


def test_no_step_waits_for_agents_that_are_killed(figures: Any) -> None:
    assert figures["agent_kills"] == AGENT_KILLS
    assert 0 < figures["agent_kills_reading"] <= AGENT_KILLS
    assert figures["agent_kills_rank"]["steps"] > 0
    assert figures["steps_delayed"] == 0


def test_steps_are_counted_and_each_standstill_is_told(figures: Any) -> None:
    assert figures["step_visible_steps"] > 0
    assert figures["hang_runs"] == 8
    assert figures["hang_seconds_min"] > LEAST_HANG_SECONDS
