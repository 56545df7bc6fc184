"""Gradient clipping: its time, and the norm that it is given or finds, which is the norm before clipping."""

from __future__ import annotations

import functools
import sys
import time
from typing import Any

from . import compiles
from .clock import clock

_now = time.monotonic
PARTS = ("clip_grad_value_", "get_total_norm", "clip_grads_with_norm_")
"""By value, and the two halves of `clip_grad_norm_`, which itself calls them under other names: nothing is
counted twice. A torch that lacks one (before 2.6 the halves) is watched without it."""


def patch(module: Any) -> None:
    """Watch torch.nn.utils."""
    for name, watch in (("clip_grad_norm_", watched_norm), *((part, watched_part) for part in PARTS)):
        original = getattr(module, name, None)
        if original is None:
            continue
        ours = compiles.traced_as(original, watch(original))
        for place in (module, module.clip_grad):
            if getattr(place, name, None) is original:
                setattr(place, name, ours)


def watched_norm(original: Any) -> Any:
    """clip_grad_norm_, timed; what it returns is the norm before clipping."""
    step, now = clock, _now

    @functools.wraps(original)
    def clip_grad_norm_(*args: Any, **keywords: Any) -> Any:
        if not step.micro:  # no gradients of this step's
            return original(*args, **keywords)
        began = now()
        step.grad_norm = norm = original(*args, **keywords)
        step.mark = ended = now()
        step.clip += ended - began
        return norm

    return clip_grad_norm_


def watched_part(original: Any) -> Any:
    """A function that clips, or takes the norm for it, timed. A norm that it is given is the step's."""
    step, now = clock, _now
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)

    @functools.wraps(original)
    def clips(*args: Any, **keywords: Any) -> Any:
        if not step.micro:
            return original(*args, **keywords)
        norm = args[2] if len(args) > 2 else keywords.get("total_norm")
        began = now()
        answer = original(*args, **keywords)
        step.mark = ended = now()
        step.clip += ended - began
        if type(norm) is tensor:
            step.grad_norm = norm
        return answer

    return clips
