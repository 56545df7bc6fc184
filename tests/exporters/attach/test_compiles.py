from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Job = Callable[..., Any]

pytestmark = pytest.mark.slow

RESET = """
import torch
model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for _ in range(3):
    compiled = torch.compile(model, backend="eager")
    for _ in range(2):
        compiled(torch.randn(4, 8)).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.compiler.reset()
callbacks = torch._dynamo.callback.callback_handler
print("RESULT", len(callbacks.start_callbacks) + len(callbacks.end_callbacks))
"""


def test_a_compiler_that_was_reset_is_watched_as_before(attached: Job) -> None:
    told = attached(RESET)
    assert told.printed() == 2, told.output
    (ring,) = told.rings
    assert [row["compile_seconds"] > 0 for row in ring.steps] == [True, False] * 3


WHOLE = """
import torch
model = torch.nn.Linear(4, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for _ in range(3):
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
model.eval()  # from now on Module.train is watched
model.train()
model(torch.ones(2, 4)).sum().backward()
gradients = [p.grad for p in model.parameters()]

def modes(x):
    model.eval()
    y = model(x)
    model.train()
    return y

whole = {
    "norm": lambda x: (torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0), x)[1],
    "value": lambda x: (torch.nn.utils.clip_grad_value_(model.parameters(), 1.0), x)[1],
    "total": lambda x: torch.nn.utils.get_total_norm(gradients) + x,
    "modes": modes,
}
for name, function in whole.items():
    torch.compile(function, fullgraph=True, backend="aot_eager")(torch.ones(2, 4))
print("RESULT", int(model.training))
"""


def test_what_is_compiled_as_a_whole_still_is(attached: Job) -> None:
    told = attached(WHOLE)
    assert told.status == 0, told.output
    assert (told.printed(), told.notices()) == (1, [])
