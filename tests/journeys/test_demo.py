"""`paceline demo`, shortened: two trials of the real job, no pairs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the demo trains: pip install 'paceline[demo]'")


@pytest.mark.slow
def test_the_demo_leaves_a_report(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "paceline_exporters", "demo", "--output", str(tmp_path / "demo")]
    done = subprocess.run(
        [*command, "--trials", "2", "--pairs", "0"], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert len(report["trials"]) == 2 and all(trial["value"] > 0 for trial in report["trials"]), report["trials"]
    assert report["default"]["phases_seconds"]["step"] > 0
    assert report["verdict"] != "use this" and report["ratio"] is None, "nothing is claimed without pairs"
    assert "<svg" in (tmp_path / "demo" / "report.html").read_text()
    assert "trial 1: per_device_train_batch_size=" in done.stderr and "of 2 runs, best" in done.stderr
