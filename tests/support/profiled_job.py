"""A training job under torch's profiler, with our hooks in it or without: what its ring and its trace hold."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from device_traces import Event, device_seconds, read

from paceline_agent.supervise.launch import ATTACH_PATH
from paceline_exporters.attach import layout
from paceline_exporters.rings import RingDirectory

WARM = 12
"""Steps before the profiler looks: more than those in which the hooks read what is dear."""
PHASES = ("forward", "backward", "optimizer")
JOB = """
import sys
import torch
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.data import DataLoader, IterableDataset

out, device = sys.argv[1], sys.argv[2]
warm, steps, width, layers, batch, reads_loss = map(int, sys.argv[3:])

class Same(IterableDataset):
    def __iter__(self):
        x = torch.randn(batch, width)
        x = x.pin_memory() if device == "cuda" else x
        while True:
            yield x

def step(x):
    with record_function("forward"):
        loss = model(x.to(device, non_blocking=True)).square().mean()
    with record_function("backward"):
        loss.backward()
    with record_function("optimizer"):
        optimizer.step()
    optimizer.zero_grad()
    if reads_loss:
        loss.item()

torch.manual_seed(0)
model = torch.nn.Sequential(*[torch.nn.Linear(width, width) for _ in range(layers)]).to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
batches = iter(DataLoader(Same(), batch_size=None))
for _ in range(warm):
    step(next(batches))
activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
finish = torch.cuda.synchronize if device == "cuda" else lambda: None
with profile(activities=activities) as profiler:
    finish()
    with record_function("window"):
        for _ in range(steps):
            step(next(batches))
    finish()
profiler.export_chrome_trace(out)
"""
Row = Mapping[str, float]


@dataclass(frozen=True)
class Size:
    """Of a stack of square layers, and whether its loop reads each loss, as one that shows its progress does."""

    steps: int
    width: int
    layers: int
    batch: int
    reads_loss: bool = True

    def words(self) -> list[str]:
        """For the command line."""
        numbers = (WARM, self.steps, self.width, self.layers, self.batch, int(self.reads_loss))
        return list(map(str, numbers))


@dataclass(frozen=True)
class Profiled:
    """What is known of the steps under the profiler."""

    trace: Sequence[Event]
    rows: Sequence[Row]
    """From the ring; none without hooks."""

    def apart(self) -> dict[str, float]:
        """By phase, how much longer than the profiler's the device time of the ring is, relative; of medians."""
        found = {}
        for phase in PHASES:
            seen = statistics.median(device_seconds(self.trace, phase))
            found[phase] = statistics.median(row[f"gpu_{phase}_seconds"] for row in self.rows) / seen - 1.0
        return found


def profiled(directory: Path, size: Size, device: str = "cuda", hooks: bool = True) -> Profiled:
    """Run the job to its end on one device."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "job.py").write_text(JOB)
    command = [sys.executable, str(directory / "job.py"), str(directory / "trace.json"), device, *size.words()]
    variables = {
        name: text for name, text in os.environ.items() if not name.startswith(("PACELINE_", "PYTHONPATH"))
    }
    variables |= {"PACELINE_RING_DIR": str(directory / "rings"), "CUDA_VISIBLE_DEVICES": first_device()}
    variables |= {"PYTHONPATH": str(ATTACH_PATH)} if hooks else {}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=280)
    if done.returncode != 0 or "paceline: " in done.stderr:
        raise RuntimeError(f"the job failed with status {done.returncode}: {done.stdout}{done.stderr}")
    return Profiled(read(directory / "trace.json"), _rows(directory / "rings")[WARM:])


def first_device() -> str:
    """The first of the devices that are to be used here."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]


def _rows(directory: Path) -> list[Row]:
    rings = RingDirectory(directory)
    rows = [row for reader in rings.scan().rings.values() for row in reader.steps(0, reader.cursors()[0])]
    rings.close()
    return [dict(zip(layout.STEP_FIELDS, row, strict=True)) for row in rows if row is not None]
