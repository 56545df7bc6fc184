from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Job = Callable[..., Any]

pytestmark = pytest.mark.slow

BACKGROUND = """
import sys, time
import torch
import torch.distributed as dist
from torch.distributed import checkpoint

class Stager(checkpoint.staging.BlockingAsyncStager):
    def stage(self, state):
        time.sleep(0.05)
        return super().stage(state)

dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}.store", rank=0, world_size=1)
model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for number in range(4):
    model(torch.randn(4, 8)).mean().backward()
    optimizer.step()
    if number == 1:
        began = time.monotonic()
        state = {"model": model.state_dict()}
        saved = checkpoint.async_save(state, checkpoint_id=sys.argv[1], async_stager=Stager())
        held = time.monotonic() - began
saved.result()
print("RESULT", held)
dist.destroy_process_group()
"""


def test_what_a_save_in_the_background_holds_up_is_a_checkpoint(attached: Job) -> None:
    told = attached(BACKGROUND)
    assert told.status == 0, told.output
    (ring,) = told.rings
    assert [row["checkpoint_seconds"] > 0 for row in ring.steps] == [False, False, True, False]
    row = ring.steps[2]
    assert 0.05 <= row["checkpoint_seconds"] <= told.printed()
    assert row["pause_seconds"] == pytest.approx(row["checkpoint_seconds"])
    assert ring.event("checkpoint").step == 2.0
