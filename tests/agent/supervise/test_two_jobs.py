"""Two real jobs at once, of one user, with one ring directory."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paceline_exporters.attach import layout
from paceline_exporters.rings import RingDirectory

pytestmark = pytest.mark.slow

JOB = """
import sys, time
from pathlib import Path
import torch
from torch.utils.data import DataLoader, TensorDataset

rings, steps, size, fails = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "fails"
data = TensorDataset(torch.randn(steps * size, 8), torch.randn(steps * size, 1))
model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for x, y in DataLoader(data, batch_size=size):
    torch.nn.functional.mse_loss(model(x), y).backward()
    optimizer.step()
    deadline = time.monotonic() + 60
    while len(list(rings.glob("*.ring"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
if fails:
    raise ValueError("of this one only")
"""


def test_each_has_its_own_rings_words_and_outcome(begin: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    rings, job = tmp_path / "rings", tmp_path / "job.py"
    rings.mkdir()
    job.write_text(JOB)
    outcomes = [tmp_path / "first.json", tmp_path / "second.json"]
    asked = [("6", "4", "returns"), ("9", "8", "fails")]
    jobs = [
        begin(sys.executable, str(job), str(rings), *words, flags=("--outcome", str(path)))
        for words, path in zip(asked, outcomes, strict=True)
    ]
    said = [job.communicate(timeout=120)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 1], said
    assert "1 rank, 5 steps" in said[0] and "of this one only" not in said[0]
    assert "1 rank, 8 steps" in said[1] and "ValueError: of this one only" in said[1]
    assert [json.loads(path.read_text())["state"] for path in outcomes] == ["finished", "failed"]
    assert written(rings) == {(6, 4.0), (9, 8.0)}


def written(rings: Path) -> set[tuple[int, float]]:
    """Steps and samples per step of each ring, which has a run of its own."""
    directory = RingDirectory(rings)
    readers = list(directory.scan().rings.values())
    rows = [reader.steps(0, reader.cursors()[0]) for reader in readers]
    runs = {header.data["run_id"] for reader in readers if (header := reader.header()) is not None}
    directory.close()
    assert len(runs) == len(readers) == 2
    samples = layout.STEP_FIELDS.index("samples")
    return {(len(held), row[samples]) for held in rows for row in held if row is not None}
