"""Collectives that the job calls itself: a rank waits there for the others, and that is no work of its own.

SyncBatchNorm, `accelerator.gather(loss)`, a barrier: with gloo, and wherever else the host waits for the result,
the fast ranks would look slow in forward. What DDP reduces lies within backward(), whose own part is told apart
there (`ddp`). With NCCL the host does not wait, and neither does anything here.

The wrappers take the place of torch.distributed's functions before torch's compiler learns them by identity, so
that compiled collectives stay what they are.
"""

from __future__ import annotations

import functools
import sys
import time
from _thread import get_ident
from typing import Any

from .checkpoints import saving
from .clock import INSIDE, clock
from .layout import SYNC_WAIT

_now = time.monotonic
NAMES = (
    *(
        "all_reduce",
        "all_gather",
        "all_gather_into_tensor",
        "all_gather_object",
        "all_to_all",
        "all_to_all_single",
    ),
    *("barrier", "broadcast", "broadcast_object_list", "gather", "gather_object", "monitored_barrier", "recv"),
    *("reduce", "reduce_scatter", "reduce_scatter_tensor", "scatter", "scatter_object_list", "send"),
)
_waiting: list[bool] = []


def patch(module: Any) -> None:
    """Watch torch.distributed."""
    inner = sys.modules.get("torch.distributed.distributed_c10d")
    if inner is None:  # a torch that was built without it
        return
    for name in NAMES:
        original = getattr(inner, name, None)
        if original is not None:
            ours = watched(original)
            for place in (inner, module):
                if getattr(place, name, None) is original:
                    setattr(place, name, ours)


def watched(original: Any) -> Any:
    """A collective, whose time is waiting; what it calls is not counted again."""
    step = clock

    @functools.wraps(original)
    def collective(*args: Any, **keywords: Any) -> Any:
        if not _counts():
            return original(*args, **keywords)
        phase = max(range(len(step.since)), key=step.since.__getitem__)
        began = step.since[SYNC_WAIT] = _now()
        _waiting.append(True)
        try:
            return original(*args, **keywords)
        finally:
            _waiting.clear()
            ended = step.since[phase] = _now()
            _take(ended - began)

    return collective


def _counts() -> bool:
    """Whether a step is under way in this thread, outside of backward() and of what is no part of a step."""
    step = clock
    return (
        step.running
        and not (_waiting or saving or step.reading or step.evaluating)
        and (step.listening or step.owner is not None)
        and step.here != INSIDE
        and step.mark is not None
        and get_ident() == step.thread
    )


def _take(seconds: float) -> None:
    step = clock
    step.sync += seconds
    step.mark += seconds  # type: ignore[operator] # it is no forward,
    if step.stepping:  # and none of the optimizer's
        step.began += seconds
