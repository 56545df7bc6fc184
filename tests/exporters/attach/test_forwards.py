"""Loops that read their data by themselves, on two real ranks: what they do before forward is not forward."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

import pytest

pytestmark = pytest.mark.slow

JOB = """
import io, os, pickle, sys, time
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("gloo")
from paceline_exporters.attach import layout
from paceline_exporters.attach.clock import clock
rank = dist.get_rank()
torch.manual_seed(0)

class Slow(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.part = torch.nn.Linear(8, 1)
    def forward(self, x):
        time.sleep(0.03)
        return self.part(x)

def get_batch():
    time.sleep(0.2 * rank)
    return torch.randn(4, 8)

model = DistributedDataParallel(Slow())
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for number in range(12):
    for micro in range(2):
        x = get_batch()
        loss = model(x).square().mean()
        if micro == 1:
            loss = loss + model(x).mean()  # called once more before the same backward pass
        loss.backward()
    optimizer.step()
    optimizer.zero_grad()
# Without gradients it is no training: an evaluation that says nothing of itself.
before = clock.since[layout.FORWARD]
with torch.no_grad():
    model(get_batch())
assert clock.since[layout.FORWARD] == before
# What is saved whole knows nothing of us.
assert b"paceline" not in pickle.dumps(model.module) and not model._forward_pre_hooks
# And what is compiled as a whole stays so.
compiled = torch.compile(model, backend="eager")
compiled(torch.randn(4, 8)).mean().backward()
print("ALL DONE", flush=True)
dist.barrier()
os._exit(0)
"""


def test_a_rank_that_reads_its_data_slowly_is_not_slow_in_forward(two_ranks: Callable[..., Any]) -> None:
    told = two_ranks(JOB)
    assert told.output.count("ALL DONE") == 2, told.output
    assert told.notices() == []
    fast, slow = (ring.steps[1:] for ring in told.rings)
    for rank in (fast, slow):
        # Three calls, of which two are in one pass; reading data takes 0.4 s a step.
        assert 0.09 <= median(row["forward_seconds"] for row in rank) < 0.3
    assert median(row["other_seconds"] for row in slow) >= 0.4
    assert median(row["other_seconds"] for row in fast) < 0.2
