"""Checkpoints: whatever saves is a pause, and the first save after a while is an event."""

from __future__ import annotations

import functools
import time
from _thread import get_ident
from typing import Any

from . import evaluation, session
from .clock import clock
from .layout import CHECKPOINT, PAUSE

_now = time.monotonic
EVENT_SECONDS = 10.0
"""Least distance between two events: one checkpoint is several files, and the ring keeps 128 events."""
saving: list[bool] = []
_told_at = [float("-inf")]


def patch_torch(torch: Any) -> None:
    """Watch torch.save."""
    torch.save = torch.serialization.save = watched(torch.serialization.save)


def patch_safetensors(module: Any) -> None:
    """Watch safetensors.torch."""
    module.save_file = watched(module.save_file)


def patch_distributed(module: Any) -> None:
    """Watch torch.distributed.checkpoint's savers; of the one that goes on in the background what it holds up."""
    for name in ("save", "async_save"):
        if hasattr(module, name):
            setattr(module, name, watched(getattr(module, name)))


def patch_accelerate(module: Any) -> None:
    """Watch accelerate.accelerator."""
    module.Accelerator.save_state = watched(module.Accelerator.save_state)


def watched(original: Any) -> Any:
    """A function that saves, with its time taken; what it calls is not counted again."""

    @functools.wraps(original)
    def save(*args: Any, **keywords: Any) -> Any:
        if saving or not clock.running or get_ident() != clock.thread:
            return original(*args, **keywords)
        saving.append(True)
        began = _now()
        clock.since[CHECKPOINT] = began
        try:
            return original(*args, **keywords)
        finally:
            saving.clear()
            _saved(began, _now())

    return save


def _saved(began: float, ended: float) -> None:
    clock.checkpoint += ended - began
    evaluation.leave_out(ended - began)
    clock.pause_for(began, ended)
    clock.since[PAUSE] = ended
    if ended > _told_at[0] + EVENT_SECONDS:
        _told_at[0] = ended
        session.event("checkpoint", float(clock.number), seconds=round(ended - began, 6))
