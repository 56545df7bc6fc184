"""Clipping in parts or by value: time that `clip_grad_norm_`, watched beside backward(), does not see.

torch's own `clip_grad_norm_` calls these under other names: nothing is counted twice.
"""

from __future__ import annotations

import functools
import sys
import time
from typing import Any

from .clock import clock

_now = time.monotonic


def patch(module: Any) -> None:
    """Watch torch.nn.utils. A version that lacks a name (before 2.6: the parts) is watched without it."""
    for name in ("clip_grad_value_", "get_total_norm", "clip_grads_with_norm_"):
        if hasattr(module, name):
            setattr(module, name, watched(getattr(module, name)))
    module.clip_grad.clip_grad_value_ = module.clip_grad_value_


def watched(original: Any) -> Any:
    """A function that clips, or takes the norm for it, with its time taken. A norm that it gets is the step's."""
    step, now = clock, _now
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)

    @functools.wraps(original)
    def clips(*args: Any, **keywords: Any) -> Any:
        if not step.micro:  # no gradients of this step's
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
