"""Which parameters a job trains, whatever its optimizers hold; each loop in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Job = Callable[..., Any]

pytestmark = pytest.mark.slow

BEGIN = """
import os, sys
import torch
from torch import nn
from torch.utils.data import DataLoader

class Words(torch.utils.data.Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, index):
        return {"input_ids": torch.arange(4) * index % 10}

def train(model, *optimizers):
    for batch in DataLoader(Words(), batch_size=4):
        model(batch["input_ids"]).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    assert "paceline" not in nn.Module.named_parameters.__code__.co_filename

SGD = lambda parameters: torch.optim.SGD(parameters, lr=0.01)
"""
LOOPS = """
def frozen_base():
    words, base, head = nn.Embedding(10, 4), nn.Linear(4, 4), nn.Linear(4, 1)
    teacher = nn.Linear(4, 1).eval()
    for module in (words, base, teacher):
        module.requires_grad_(False)
    train(lambda ids: head(base(words(ids))), SGD(head.parameters()))

def adapters():
    class Adapted(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.adapter, self.last = nn.Embedding(10, 4), nn.Linear(4, 4), nn.Linear(4, 1)
            self.first.requires_grad_(False)
            self.last.requires_grad_(False)
        def forward(self, ids):
            return self.last(self.adapter(self.first(ids)))
    model = Adapted()
    train(model, SGD([parameter for parameter in model.parameters() if parameter.requires_grad]))

def two_optimizers():
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 1))
    train(model, SGD([model[1].weight]), SGD([p for p in model.parameters() if p is not model[1].weight]))

def optimizer_in_backward():
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 1))
    optimizers = {parameter: SGD([parameter]) for parameter in model.parameters()}
    def stepped(parameter):
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(stepped)
    train(model)

def no_module():
    table = torch.randn(10, 4, requires_grad=True)
    train(lambda ids: table[ids], SGD([table]))

def no_module_and_two_optimizers():
    table, scale = torch.randn(10, 4, requires_grad=True), torch.ones(1, requires_grad=True)
    train(lambda ids: table[ids] * scale, SGD([table]), SGD([scale]))

def odd_module():
    class Once(nn.Embedding):
        def parameters(self, recurse=True):
            if hasattr(self, "asked"):
                raise TypeError("of the user")
            self.asked = True
            return super().parameters(recurse)
    model = Once(10, 4)
    train(model, SGD(model.parameters()))

for loop in (frozen_base, adapters, two_optimizers, optimizer_in_backward, no_module,
             no_module_and_two_optimizers, odd_module):
    child = os.fork()
    if child == 0:
        try:
            loop()
            os._exit(0)
        except BaseException as error:
            print(loop.__name__, repr(error), flush=True)
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, run_attached: Job) -> Any:
    done = run_attached(tmp_path_factory.mktemp("loops"), BEGIN + LOOPS)
    assert done.status == 0, done.output
    return done


@pytest.mark.parametrize(
    ("loop", "parameters", "flops"),
    [
        ("frozen base", 40 + 20 + 5, 2 * (40 + 20) + 6 * 5),  # nothing of the base needs a gradient
        ("adapters", 40 + 20 + 5, 2 * 40 + 6 * 20 + 4 * 5),  # through the frozen last layer they flow
        ("two optimizers", 45, 6 * 45),
        ("optimizer in backward", 45, 6 * 45),
        ("no module", 40, 6 * 40),
        ("no module and two optimizers", None, None),
        ("odd module", None, None),
    ],
)
def test_all_that_trains_is_counted(told: Any, loop: str, parameters: int | None, flops: int | None) -> None:
    order = ["frozen base", "adapters", "two optimizers", "optimizer in backward", "no module"]
    order += ["no module and two optimizers", "odd module"]
    header = told.rings[order.index(loop)].header
    assert (header.get("parameters"), header.get("flops_per_token")) == (parameters, flops)
    assert header["effective"]["optimizer"]["name"] == "SGD"


def test_a_module_that_answers_oddly_is_said_once(told: Any) -> None:
    (notice,) = told.notices()
    assert notice.startswith("paceline: looking for the model's parameters failed")


COMPILED = """
model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 1))
optimizer = SGD(model.parameters())

@torch.compile(backend="eager", fullgraph=True)
def penalised(ids):
    return model(ids) + sum(parameter.sum() for parameter in model.parameters())

train(penalised, optimizer)
"""


def test_a_compiler_finds_nothing_of_ours_in_a_module(attached: Job) -> None:
    told = attached(BEGIN + COMPILED)
    assert told.status == 0, told.output
    assert told.rings[0].header["parameters"] == 45


def test_of_two_trainings_in_one_process_each_has_its_own_model(attached: Job, tmp_path: Path) -> None:
    script = (
        "for width in (4, 8):\n"
        "    model = nn.Embedding(10, width)\n"
        "    train(model, SGD(model.parameters()))\n"
        "    ring = sys.modules['_paceline_attach.session'].recorder()\n"
        "    print('RESULT', ring.header['parameters']) if width == 8 else None\n"
        "    sys.modules['_paceline_attach.crash'].ended('finished')\n"
    )
    told = attached(BEGIN + script)
    assert told.printed() == 80, told.output
