"""Loss and grad norm of a step: read at once on a CPU, one step late on a GPU, where reading would wait.

On CUDA both are copied into pinned memory behind an event; the record is written when the event is found
complete at a later step's end, and with NaN if it is not after `PATIENCE` steps. Nothing here synchronises.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from typing import Any

from . import layout, session
from .recorder import Recorder

LOSS, GRAD_NORM = layout.STEP_FIELDS.index("loss"), layout.STEP_FIELDS.index("grad_norm")
PATIENCE = 3
"""Steps."""


class Scalars:
    """Completes step records with their scalars and writes them in order."""

    def __init__(self, device: Any, recorder: Recorder) -> None:
        self._late = device.type == "cuda"
        self._recorder = recorder
        self._pending: deque[tuple[list[float], Any, Any]] = deque()
        self._finite = True

    def write(self, values: list[float], losses: list[Any], grad_norm: Any) -> None:
        """Write the record, now or when its scalars have arrived."""
        if not self._late:
            loss = 0.0
            for part in losses:
                loss += part.item()
            values[LOSS] = loss
            if grad_norm is not None:
                values[GRAD_NORM] = float(grad_norm)
            self._recorder.step(values)
            if self._finite and loss - loss != 0.0:
                self._report(values)
            return
        self._pending.append((values, *_fetch(losses, grad_norm)))
        while self._pending and (self._arrived() or len(self._pending) > PATIENCE):
            self._take()

    def flush(self, wait: bool) -> None:
        """Write what is pending. To `wait` is allowed when training is over; when it failed, it may never end."""
        while self._pending:
            if wait:
                self._pending[0][2].synchronize()
            self._take()

    def _arrived(self) -> bool:
        return bool(self._pending[0][2].query())

    def _take(self) -> None:
        values, buffer, event = self._pending.popleft()
        known = bool(event.query())
        if known:
            values[LOSS], values[GRAD_NORM] = float(buffer[0]), float(buffer[1])
        self._recorder.step(values)
        if known and self._finite and not math.isfinite(values[LOSS]):
            self._report(values)

    def _report(self, values: list[float]) -> None:
        """The first loss that is not finite."""
        self._finite = False
        session.event("nan", float(values[0]), loss=str(values[LOSS]))


def _fetch(losses: list[Any], grad_norm: Any) -> tuple[Any, Any]:
    torch = sys.modules["torch"]
    buffer = torch.full((2,), math.nan, pin_memory=True)
    buffer[0:1].copy_(torch.stack([loss.detach().float() for loss in losses]).sum(), non_blocking=True)
    if torch.is_tensor(grad_norm):
        buffer[1:2].copy_(grad_norm.detach().float(), non_blocking=True)
    elif grad_norm is not None:
        buffer[1] = float(grad_norm)
    event = torch.cuda.Event()
    event.record()
    return buffer, event
