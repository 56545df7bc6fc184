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
