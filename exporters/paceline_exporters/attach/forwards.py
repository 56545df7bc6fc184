"""Where forward begins in a loop that reads no loader of torch's: where it calls its DistributedDataParallel.

What such a loop does before that, its own reading of data as a rule, is not forward. With a loader forward begins
when the batch is there. A single process calls a module that only it knows: there all of that time is forward.
"""

from __future__ import annotations

import functools
import time
from typing import Any

from .clock import INSIDE, clock
from .evaluation import is_plain_training, traceable
from .late import READY
from .layout import FORWARD

_now = time.monotonic


def patch(torch: Any) -> None:
    """Watch DistributedDataParallel.forward: on the class, for a hook on the model would be saved with it."""
    cls = torch.nn.parallel.DistributedDataParallel
    original = cls.forward
    step, gradients = clock, torch.is_grad_enabled
    compiling = getattr(torch.compiler, "is_compiling", None)
    if compiling is None:  # torch 2.1: a compiler would trace into what is ours
        return

    @functools.wraps(original)
    def forward(self: Any, *inputs: Any, **keywords: Any) -> Any:
        if not compiling() and not step.batches and gradients() and is_plain_training():
            _begins(step)
        return original(self, *inputs, **keywords)

    cls.forward = traceable(original, forward)


def _begins(step: Any) -> None:
    """Of several calls before a backward pass the first one counts."""
    here = (step.count, step.micro)
    if step.here != INSIDE and not step.evaluating and step.called != here:
        step.called = here
        step.mark = step.since[FORWARD] = _now()
        if step.late is not None:
            step.late.mark(READY)
