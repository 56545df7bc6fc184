"""The noise scale of a real job: what its ranks wrote, against gradients that it worked out by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import paceline_exporters.attach
from paceline_exporters.metrics import Samples
from paceline_exporters.sources.contract import World
from paceline_exporters.sources.steps import StepsSource
from paceline_exporters.sources.steps.families import NOISE

pytestmark = pytest.mark.slow

MICRO_STEPS, MICRO_SAMPLES, RANKS = 3, 4, 2
JOB = """
import json, os, sys
import torch
import torch.distributed as dist
from torch.nn.functional import mse_loss
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

directory, micro_steps, micro_samples, divisor = sys.argv[1], *map(int, sys.argv[2:])
dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
model = DistributedDataParallel(torch.nn.Linear(16, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
torch.manual_seed(1 + rank)
data = TensorDataset(torch.randn(24, 16), torch.randn(24, 1))

def gradient(x, y):
    loss = mse_loss(model.module(x), y)
    gradients = torch.autograd.grad(loss, list(model.module.parameters()))
    return torch.cat([part.flatten() for part in gradients])

for number, (x, y) in enumerate(DataLoader(data, batch_size=micro_samples)):
    last = number % micro_steps == micro_steps - 1
    model.require_backward_grad_sync = last
    (mse_loss(model(x), y) / divisor).backward()
    if last:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        optimizer.step()
        optimizer.zero_grad()

# The second step is the one whose norms are taken; the learning rate is 0, so the model is the same.
x, y = (part[micro_steps * micro_samples : 2 * micro_steps * micro_samples] for part in data.tensors)
first = gradient(x[:micro_samples], y[:micro_samples]).norm()
whole = gradient(x, y)
dist.all_reduce(whole)
answer = {"small": float(first) ** 2, "big": float((whole / dist.get_world_size()).norm()) ** 2}
with open(f"{directory}/{rank}.json", "w") as file:
    json.dump(answer, file)
dist.barrier()
os._exit(0)  # gloo's own teardown aborts or hangs now and then
"""


@pytest.mark.parametrize("divisor", [MICRO_STEPS, 1], ids=["the mean of its micro-steps", "their sum"])
def test_against_gradients_worked_out_by_the_job(tmp_path: Path, divisor: int) -> None:
    script = tmp_path / "job.py"
    script.write_text(JOB)
    attach = Path(paceline_exporters.attach.__file__).parent / "path"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={RANKS}", script]
    done = subprocess.run(
        [*map(str, command), str(tmp_path), str(MICRO_STEPS), str(MICRO_SAMPLES), str(divisor)],
        env={**os.environ, "PYTHONPATH": str(attach), "PACELINE_RING_DIR": str(tmp_path / "rings")},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    source = StepsSource(World(rings=tmp_path / "rings"))
    found = source.sample()
    source.close()
    known = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(RANKS)]
    small_square = sum(one["small"] for one in known) / RANKS
    small, big = MICRO_SAMPLES, MICRO_SAMPLES * MICRO_STEPS * RANKS
    scale = (MICRO_STEPS / divisor) ** 2
    signal = (big * known[0]["big"] - small * small_square) / (big - small)
    noise = (small_square - known[0]["big"]) / (1 / small - 1 / big)
    assert published(found, "readings") == 1
    assert published(found, "ranks") == RANKS
    assert published(found, "signal") == pytest.approx(signal * scale, rel=1e-4)
    assert published(found, "noise") == pytest.approx(noise * scale, rel=1e-4)
    assert published(found, "samples") == (pytest.approx(noise / signal, rel=1e-4) if signal > 0 else None)


def published(samples: Samples, name: str) -> object:
    (value,) = samples.points[NOISE[name]].values()
    return value
