"""Collectives of a job's own on two real ranks: who waits there does not look slow."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

import pytest

pytestmark = pytest.mark.slow

JOB = """
import os, sys, time
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

dist.init_process_group("gloo")
rank = dist.get_rank()

def reduced(x):
    dist.all_reduce(x)
    return x + 1

# Compiled ones stay in the graph: with fullgraph this raises where they do not.
assert torch.compile(reduced, fullgraph=True, backend="aot_eager")(torch.ones(2)).tolist() == [3.0, 3.0]

model = DistributedDataParallel(torch.nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
data = TensorDataset(torch.randn(128, 8))
for number, (x,) in enumerate(DataLoader(data, batch_size=8)):
    if rank == 1:
        time.sleep(0.04)  # a slow forward
    loss = model(x).square().mean()
    losses = [torch.zeros(()) for _ in range(2)]
    dist.all_gather(losses, loss.detach())  # as accelerate's gather does
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if number == 7:
        model.eval()
        time.sleep(1.0 * rank)
        dist.barrier()
        model.train()
dist.barrier()
dist.destroy_process_group()
"""


def test_who_waits_in_a_collective_is_not_slow(two_ranks: Callable[..., Any]) -> None:
    told = two_ranks(JOB)
    assert told.status == 0, told.output
    assert told.notices() == []
    fast, slow = (ring.steps[3:] for ring in told.rings)

    def typical(rows: Any, name: str) -> float:
        return median(row[name] for row in rows)

    assert typical(slow, "forward_seconds") >= 0.04 > typical(fast, "forward_seconds")
    assert typical(fast, "sync_wait_seconds") >= 0.02 > typical(slow, "sync_wait_seconds")
    for row in [*fast, *slow]:
        assert row["other_seconds"] >= 0.0
    evaluated = fast[8 - 3]
    # It waited for the other's second, and the step does not contain that.
    assert evaluated["pause_seconds"] >= 0.5 > evaluated["step_seconds"]
