"""Loops that do not look like the textbook's, each in a process of its own, and what their rings say."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import pytest

pytestmark = pytest.mark.slow

SCENARIOS = """
import json, os, sys, threading, time, weakref
import torch
from torch.utils.data import DataLoader, TensorDataset

torch.set_num_threads(1)
torch.manual_seed(0)
data = TensorDataset(torch.randn(512, 8), torch.randn(512, 1))
mse = torch.nn.functional.mse_loss

def made(kind=torch.optim.SGD, **more):
    model = torch.nn.Linear(8, 1)
    return model, kind(model.parameters(), **{"lr": 0.01, **more})

def batches(number, size=8):
    return zip(range(number), DataLoader(data, batch_size=size))

def train(model, optimizer, steps):
    for _, (x, y) in batches(steps):
        optimizer.zero_grad()
        mse(model(x), y).backward()
        optimizer.step()

def folds():
    kept = [made() for _ in range(4)]  # all optimizers live to the end
    for model, optimizer in kept:
        train(model, optimizer, 12)

def adversaries():
    one, other = made(), made()
    for _, (x, y) in batches(20):
        for model, optimizer in (one, other, other):
            optimizer.zero_grad()
            mse(model(x), y).backward()
            optimizer.step()

def raises():
    class Bad(torch.optim.SGD):
        def step(self, closure=None):
            raise RuntimeError("not today")
    model, optimizer = made()
    train(model, optimizer, 3)
    worse, bad = made(Bad)
    try:
        train(worse, bad, 1)
    except RuntimeError:
        pass
    train(*made(), 10)

def no_optimizer():
    from _paceline_attach.clock import clock
    model, _ = made()
    for epoch in range(20):
        for x, y in DataLoader(data, batch_size=8):
            mse(model(x), y).backward()
            with torch.no_grad():
                for p in model.parameters():
                    p -= 0.01 * p.grad
                    p.grad = None
    return len(clock.batches)

def evaluates_without_a_loader():
    model, optimizer = made()
    for step in range(12):
        optimizer.zero_grad()
        mse(model(torch.randn(8, 8)), torch.randn(8, 1)).backward()
        optimizer.step()
        model.eval()
        time.sleep(0.03)
        model.train()

def patches_train():
    seen, plain = [], torch.nn.Module.train
    def theirs(self, mode=True):
        seen.append(mode)
        return plain(self, mode)
    model, optimizer = made()
    train(model, optimizer, 2)
    model.eval()
    torch.nn.Module.train = theirs
    for _ in range(2):
        model.train()
        model.eval()
    return [seen, torch.nn.Module.train is theirs]

def two_losses():
    model, optimizer = made()
    for _, (x, y) in batches(4):
        optimizer.zero_grad()
        mse(model(x), y).backward(retain_graph=True)
        mse(model(x), y).backward()
        optimizer.step()

def closure():
    model, optimizer = made(torch.optim.LBFGS, max_iter=4, lr=0.1)
    norms, losses = [], []
    for step in range(4):
        x, y = torch.randn(8, 8), torch.randn(8, 1)
        def closure():
            optimizer.zero_grad()
            loss = mse(model(x), y)
            loss.backward()
            losses.append(loss.item())
            return loss
        optimizer.step(closure)
        grads = [p.grad.norm() for p in model.parameters()]
        norms.append([float(torch.stack(grads).norm()), losses[-1]])
    return norms

def another_thread():
    thread = threading.Thread(target=train, args=(*made(), 10))
    thread.start()
    thread.join()

def gradients_only():
    model, optimizer = made()
    for _, (x, y) in batches(10):
        for p, g in zip(model.parameters(), torch.autograd.grad(mse(model(x), y), list(model.parameters()))):
            p.grad = g
        optimizer.step()

def within_backward():
    model = torch.nn.Sequential(*[torch.nn.Linear(8, 8) for _ in range(3)])
    for p in model.parameters():
        optimizer = torch.optim.SGD([p], lr=0.01)
        def step(p, optimizer=optimizer):
            time.sleep(0.002)
            optimizer.step()
            optimizer.zero_grad()
        optimizer.register_step_pre_hook(lambda *_: time.sleep(0.004))
        p.register_post_accumulate_grad_hook(step)
    for _, (x, y) in batches(6):
        model(x).sum().backward()

class Full(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sum()
    @staticmethod
    def backward(ctx, grad):
        time.sleep(1.0)
        raise torch.OutOfMemoryError("tried to allocate 1 TiB")

def catches_out_of_memory():
    model, optimizer = made()
    for step, (x, y) in batches(6):
        optimizer.zero_grad()
        try:
            (Full.apply(model(x)) if step == 3 else mse(model(x), y)).backward()
        except torch.OutOfMemoryError:
            continue
        optimizer.step()

def drops_its_batches():
    alive, most = [], 0
    class Batch(dict):
        pass
    def collate(items):
        batch = Batch(x=torch.stack([x for x, _ in items]))
        alive.append(weakref.ref(batch))
        return batch
    from accelerate import Accelerator
    model, optimizer = made()
    loader = Accelerator(cpu=True).prepare(DataLoader(data, batch_size=8, collate_fn=collate))
    iterator = iter(loader)
    for _ in range(5):
        batch = next(iterator)
        model(batch["x"]).sum().backward()
        optimizer.step()
        del batch
    return len([one for one in alive if one() is not None])

scenarios = [folds, adversaries, raises, no_optimizer, evaluates_without_a_loader, patches_train, two_losses,
             closure, another_thread, gradients_only, within_backward, catches_out_of_memory, drops_its_batches]
told = {}
for scenario in scenarios:
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.environ["PACELINE_RUN_ID"] = scenario.__name__
        os.write(writer, json.dumps(scenario()).encode())
        sys.exit()
    os.close(writer)
    told[scenario.__name__] = json.loads(os.read(reader, 65536) or "null")
    assert os.wait()[1] == 0, scenario
print("RESULT " + json.dumps(told))
"""


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, run_attached: Callable[..., Any]) -> Any:
    told = run_attached(tmp_path_factory.mktemp("unusual"), SCENARIOS)
    assert told.status == 0, told.output
    assert told.notices() == []
    return told


@pytest.fixture(scope="module")
def said(job: Any) -> Mapping[str, Any]:
    """What each loop says of itself."""
    answers: Mapping[str, Any] = job.printed()
    return answers


@pytest.fixture(scope="module")
def rings(job: Any) -> Mapping[str, Any]:
    """By the loop's name."""
    return {ring.header["run_id"]: ring for ring in job.rings}


def column(ring: Any, name: str) -> list[float]:
    return [row[name] for row in ring.steps]


def test_a_model_after_the_other_is_watched_though_no_optimizer_leaves(rings: Mapping[str, Any]) -> None:
    steps = rings["folds"].steps
    assert 48 - 3 * 3 < len(steps) < 48  # two steps of each next model pass before it is known for one
    assert {row["micro_steps"] for row in steps} == {1, 3}


def test_optimizers_that_take_turns_make_one_step_of_a_round(rings: Mapping[str, Any]) -> None:
    ring = rings["adversaries"]
    assert column(ring, "step") == list(range(1, 21))
    assert column(ring, "micro_steps")[1:] == [3] * 19
    assert all(math.isnan(norm) for norm in column(ring, "grad_norm_first_micro"))


def test_an_optimizer_that_raised_ends_nothing(rings: Mapping[str, Any]) -> None:
    assert len(rings["raises"].steps) == 3 + 10 - 2


def test_memory_does_not_grow_where_no_step_ends(rings: Mapping[str, Any], said: Mapping[str, Any]) -> None:
    assert rings["no_optimizer"].steps == []
    assert said["no_optimizer"] <= 256


def test_every_evaluation_is_one_without_a_loader_too(rings: Mapping[str, Any]) -> None:
    steps = rings["evaluates_without_a_loader"].steps
    assert all(row["evaluation_seconds"] >= 0.03 for row in steps[1:])
    assert median(row["forward_seconds"] for row in steps[1:]) < 0.03


def test_a_patch_of_the_jobs_own_stays(said: Mapping[str, Any]) -> None:
    assert said["patches_train"] == [[True, False, True, False], True]


def test_several_losses_of_a_batch_are_no_samples_of_its_noise(rings: Mapping[str, Any]) -> None:
    ring = rings["two_losses"]
    assert column(ring, "micro_steps") == [2] * 4
    assert all(math.isnan(norm) for norm in column(ring, "grad_norm_first_micro"))


def test_of_a_closure_the_last_loss_and_its_own_norm_count(
    rings: Mapping[str, Any], said: Mapping[str, Any]
) -> None:
    ring = rings["closure"]
    assert column(ring, "step") == [1, 2, 3, 4]
    assert ring.header["device"] == "cpu" and "first_step" in ring.kinds()
    assert column(ring, "loss") == pytest.approx([loss for _, loss in said["closure"]], rel=1e-5)
    assert ring.steps[1]["grad_norm"] == pytest.approx(said["closure"][1][0], rel=1e-5)
    assert all(math.isnan(norm) for norm in column(ring, "grad_norm_first_micro"))


def test_training_in_another_thread_is_watched(rings: Mapping[str, Any]) -> None:
    assert column(rings["another_thread"], "step") == list(range(1, 11))


def test_gradients_without_backward_make_steps(rings: Mapping[str, Any]) -> None:
    steps = rings["gradients_only"].steps
    assert [row["step"] for row in steps] == list(range(1, 11))
    assert all(math.isnan(row["forward_seconds"]) and math.isnan(row["backward_seconds"]) for row in steps)
    assert all(row["optimizer_seconds"] > 0 and row["other_seconds"] >= 0 for row in steps)


def test_optimizers_within_backward_end_the_step_after_it(rings: Mapping[str, Any]) -> None:
    steps = rings["within_backward"].steps
    assert [row["step"] for row in steps] == list(range(1, 7))
    for row in steps:
        assert row["micro_steps"] == 1
        assert row["optimizer_seconds"] >= 6 * 0.004 and row["backward_seconds"] >= 6 * 0.002
        assert row["other_seconds"] >= 0


def test_a_failed_allocation_that_is_caught_is_told_and_no_step(rings: Mapping[str, Any]) -> None:
    ring = rings["catches_out_of_memory"]
    assert ring.event("oom").step == 3 and ring.event("oom").detail["samples"] == 8
    assert column(ring, "step") == list(range(1, 6))
    assert max(column(ring, "step_seconds")) < 1.0
    assert ring.event("end").detail["how"] == "exit"


def test_a_batch_goes_when_the_job_drops_it(said: Mapping[str, Any]) -> None:
    assert said["drops_its_batches"] <= 1  # the one that accelerate has fetched ahead


def test_all_of_them_ran(said: Mapping[str, Any], rings: Mapping[str, Any], job: Any) -> None:
    assert set(rings) == set(said), json.dumps(job.output)[-2000:]
    assert isinstance(job.directory, Path)
