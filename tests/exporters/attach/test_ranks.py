"""Loops of the job's own on two ranks: torchrun and mp.spawn, DDP and Accelerate, and a rank that fails."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

Job = Callable[..., Any]

pytestmark = pytest.mark.slow

PLAIN = """
import os, sys, time
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

class Words(torch.utils.data.Dataset):
    def __len__(self):
        return 128
    def __getitem__(self, index):
        time.sleep(0.002)
        return {"input_ids": torch.arange(16) * index % 64}

def train(rank, size, steps=6, workers=0, context=None):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(64, 32), torch.nn.Linear(32, 64))
    model = DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    loader = DataLoader(Words(), batch_size=4, num_workers=workers, multiprocessing_context=context)
    for number, batch in enumerate(loader):
        last = number % 2 == 1
        model.require_backward_grad_sync = last
        logits = model(batch["input_ids"]) * (float("nan") if rank == 1 and number == 9 else 1.0)
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["input_ids"].flatten()).backward()
        if last:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        if number == 2 * steps - 1:
            break
"""

TORCHRUN = """
dist.init_process_group("gloo")
rank = dist.get_rank()
train(rank, 2)
dist.barrier()
if rank == 1:
    raise ValueError("on one rank")
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def torchrun(two_ranks: Job) -> Any:
    return two_ranks(PLAIN + TORCHRUN, environment={"PACELINE_DDP_SAMPLE_EVERY": "1"})


def test_each_rank_of_plain_ddp_has_its_ring(torchrun: Any) -> None:
    assert torchrun.notices() == []
    assert [ring.header["rank"] for ring in torchrun.rings] == [0, 1]
    assert len({ring.header["run_id"] for ring in torchrun.rings}) == 1
    for ring in torchrun.rings:
        assert (ring.header["world_size"], ring.header["local_rank"]) == (2, ring.header["rank"])
        assert [row["step"] for row in ring.steps] == list(range(1, 7))
        assert {(row["micro_steps"], row["samples"], row["tokens"]) for row in ring.steps} == {(2, 8, 128)}


def test_all_ranks_clip_one_norm_and_each_has_its_own_before_that(torchrun: Any) -> None:
    first, second = (ring.steps for ring in torchrun.rings)
    assert [row["grad_norm"] for row in first[:4]] == pytest.approx([row["grad_norm"] for row in second[:4]])
    assert not math.isnan(first[1]["grad_norm_first_micro"])
    assert first[1]["grad_norm_first_micro"] != first[1]["grad_norm"]


def test_ddps_own_times_and_buckets_are_there(torchrun: Any) -> None:
    for ring in torchrun.rings:
        assert ring.header["effective"]["ddp"]["bucket_cap_mb"] is None
        assert ring.header["buckets"]["bucket_cap_bytes"] > 0
        assert ring.header["parameters"] == 64 * 32 + 32 * 64 + 64
        assert ring.header["flops_per_token"] == 6 * ring.header["parameters"]
        known = [row for row in ring.steps if not math.isnan(row["ddp_comm_seconds"])]
        assert known and all(row["ddp_compute_seconds"] > 0 for row in known)


def test_the_first_bad_loss_and_what_failed_are_told_by_the_rank_that_had_it(torchrun: Any) -> None:
    assert torchrun.status == 1
    first, second = torchrun.rings
    assert (first.event("nan").step, second.event("nan").step) == (6.0, 5.0)  # it spread with the gradients
    assert second.event("exception").detail == {"type": "ValueError", "message": "on one rank"}
    assert second.event("exception").step == 6.0
    assert second.event("end").detail == {"how": "exception"}


SPAWN = """
def main(rank, address, fail):
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    train(rank, 2, steps=4, workers=1, context="fork" if rank else "spawn")
    dist.barrier()
    if fail and rank == 1:
        raise KeyError("in a spawned rank")
    os._exit(0)  # gloo's own teardown aborts or hangs now and then

if __name__ == "__main__":
    import torch.multiprocessing as mp
    address = f"file://{sys.argv[1]}.store"
    try:
        mp.spawn(main, args=(address, True), nprocs=2)
    except mp.ProcessRaisedException as error:
        print("RESULT", int("in a spawned rank" in str(error)))
"""


def test_spawned_ranks_are_watched_and_their_loaders_workers_are_not(attached: Job) -> None:
    told = attached(PLAIN + SPAWN)
    assert told.printed() == 1, told.output
    assert told.notices() == []
    assert [ring.header["rank"] for ring in told.rings] == [0, 1]
    assert len({ring.header["run_id"] for ring in told.rings}) == 1
    for ring in told.rings:
        assert ring.header["world_size"] == 2
        assert len(ring.steps) == 4
        assert ring.header["effective"]["loader"]["num_workers"] == 1
    assert told.rings[1].event("exception").detail["type"] == "KeyError"


ACCELERATE = """
import sys
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

class Words(torch.utils.data.Dataset):
    def __len__(self):
        return 64
    def __getitem__(self, index):
        mask = torch.zeros(16, dtype=torch.long)
        mask[: 1 + index] = 1
        return {"input_ids": torch.arange(16) * index % 64, "attention_mask": mask}

accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
model = torch.nn.Sequential(torch.nn.Embedding(64, 32), torch.nn.Linear(32, 64))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
model, optimizer, loader, valid, scheduler = accelerator.prepare(
    model, optimizer, DataLoader(Words(), batch_size=2), DataLoader(Words(), batch_size=4), scheduler)
losses = []
for number, batch in enumerate(loader):
    with accelerator.accumulate(model):
        ids = batch["input_ids"]
        loss = torch.nn.functional.cross_entropy(model(ids).flatten(0, 1), ids.flatten())
        losses.append(loss.item())
        accelerator.backward(loss)
        if accelerator.sync_gradients:
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    if number == 7:
        model.eval()
        with torch.no_grad():
            for batch in valid:
                model(batch["input_ids"])
        model.train()
        accelerator.save_state(sys.argv[1])
sys.stdout.write(f"LOSSES{accelerator.process_index} {losses}\\n")  # one write: the ranks share the pipe
accelerator.wait_for_everyone()
accelerator.end_training()
"""


@pytest.fixture(scope="module")
def accelerate(two_ranks: Job) -> Any:
    told = two_ranks(ACCELERATE, "OUT")
    assert told.status == 0, told.output
    assert told.notices() == []
    return told


def test_accelerate_accumulates_into_steps(accelerate: Any) -> None:
    for ring in accelerate.rings:
        assert [row["step"] for row in ring.steps] == list(range(1, 9))
        assert {(row["micro_steps"], row["samples"], row["tokens"]) for row in ring.steps} == {(2, 4, 64)}
        assert [row["learning_rate"] for row in ring.steps[:2]] == [
            0.01,
            0.0025,
        ]  # its scheduler steps per process
        assert ring.kinds() == ["start", "first_step", "checkpoint", "end"]


def test_a_batch_counts_when_it_is_handed_out_though_it_was_read_before(accelerate: Any) -> None:
    for rank, ring in enumerate(accelerate.rings):
        pairs = [[4 * batch + 2 * rank + item for item in (0, 1)] for batch in range(16)]
        real = [sum(min(16, 1 + index) for index in pair) for pair in pairs]
        expected = [float(sum(real[2 * step : 2 * step + 2])) for step in range(8)]
        assert [row["real_tokens"] for row in ring.steps] == expected


def test_accelerates_evaluation_and_checkpoint_are_pauses(accelerate: Any) -> None:
    for ring in accelerate.rings:
        paused = [int(row["step"]) for row in ring.steps if row["pause_seconds"] > 0]
        assert paused == [5]
        assert ring.steps[4]["evaluation_seconds"] > 0 and ring.steps[4]["checkpoint_seconds"] > 0
        assert ring.event("checkpoint").step == 4.0


def test_accelerates_loss_is_the_mean_of_its_passes(accelerate: Any) -> None:
    for rank, ring in enumerate(accelerate.rings):
        (line,) = [line for line in accelerate.output.splitlines() if line.startswith(f"LOSSES{rank} ")]
        losses = [float(text) for text in line.partition("[")[2].rstrip("]").split(",")]
        means = [(first + second) / 2 for first, second in zip(losses[::2], losses[1::2], strict=True)]
        assert [row["loss"] for row in ring.steps] == pytest.approx(means)
