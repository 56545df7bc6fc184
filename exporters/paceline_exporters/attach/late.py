"""What a step on a GPU knows only later: its scalars and its phases on the device. Nothing here synchronises.

Loss and norms are copied into pinned memory behind an event, the phases lie between events on the training
stream. All come from a pool. A record waits, in order, until its last event is found complete at a later step's
end; after `PATIENCE` steps it is written with what is unknown left NaN.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

from . import layout
from .notice import failed

PATIENCE = 32
"""Steps. A loop that never waits for the device runs ahead of it by as many launches as the driver queues, about
a thousand: ten steps of a hundred kernels. Until it is there, a step has not been made."""
MOST_MARKS = 64
"""Events of one step; the device phases of a step with more micro-steps than these can hold stay unknown."""
READY, BACKWARD, AFTER, OPTIMIZER, DONE, OWN = range(6)
"""Marks: a batch is there, backward() begins and has ended, the optimizer's step begins and has ended, and within
backward() the rank's own last gradient."""

_SCALARS = tuple(
    layout.STEP_FIELDS.index(name) for name in ("loss", "grad_norm", "grad_norm_first_micro", "real_tokens")
)
_PHASES = slice(layout.STEP_FIELDS.index("gpu_forward_seconds"), layout.STEP_FIELDS.index("gpu_step_seconds") + 1)
_OWN = layout.STEP_FIELDS.index("gpu_backward_compute_seconds")
_LOSS = _SCALARS[0]


class Cuda:
    """As much of torch.cuda as is needed here."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self.capturing: Callable[[], bool] = torch.cuda.is_current_stream_capturing

    def event(self) -> Any:
        """An event that keeps its time."""
        return self._torch.cuda.Event(enable_timing=True)

    def buffer(self) -> Any:
        """Pinned memory for the scalars of a step."""
        return self._torch.empty(len(_SCALARS), dtype=self._torch.float32, pin_memory=True)

    def total(self, scalars: list[Any]) -> Any:
        """Sum of scalar tensors, on their device."""
        return self._torch.stack([scalar.detach().float().reshape(()) for scalar in scalars]).sum()

    def memory(self) -> dict[str, Any]:
        """The caching allocator's statistics, nested."""
        statistics: dict[str, Any] = self._torch.cuda.memory_stats_as_nested_dict()
        return statistics


class Late:
    """Marks of the current step, and the records that wait."""

    def __init__(
        self, cuda: Any, write: Callable[[list[float]], None], not_finite: Callable[[float, float], None]
    ) -> None:
        self.cuda = cuda
        self._write_record, self._not_finite = write, not_finite
        self._events: list[Any] = []
        self._buffers: list[Any] = []
        self._marks: list[tuple[int, Any]] = []
        self._timed = False  # the step in which this begins is half over
        self._pending: deque[tuple[list[float], bool, Any, Any, list[tuple[int, Any]]]] = deque()

    def mark(self, kind: int) -> None:
        """Put an event on the current stream, unless a CUDA graph is being captured there."""
        marks = self._marks
        if not self._timed or len(marks) >= MOST_MARKS:
            return
        try:
            if self.cuda.capturing():
                self._timed = False  # until the next step: what was marked before does not make a step
                return
            event = self._events.pop() if self._events else self.cuda.event()
            event.record()
            marks.append((kind, event))
        except Exception as error:  # telemetry must not stop training
            self._timed = False
            failed("timing the GPU", error)

    def write(
        self, values: list[float], losses: list[Any], norm: Any, first_norm: Any, unpadded: list[Any]
    ) -> None:
        """Queue the record, and write those whose values have arrived.

        `unpadded`: tokens without padding, of batches that are on the device.
        """
        marks, self._marks = self._marks, []
        whole, self._timed = self._timed and len(marks) < MOST_MARKS, True
        if self.cuda.capturing():
            self._release(marks)
            self._write_record(values)
            return
        sums = [self.cuda.total(scalars) if scalars else None for scalars in (losses, unpadded)]
        buffer = self._fetch([sums[0], norm, first_norm, sums[1]])
        done = self._events.pop() if self._events else self.cuda.event()
        done.record()
        if not whole:
            self._release(marks)
            marks = []
        self._pending.append((values, bool(losses), buffer, done, marks))
        while self._pending and (self._pending[0][3].query() or len(self._pending) > PATIENCE):
            self._take()

    def flush(self, wait: bool) -> None:
        """Write what is pending. To `wait` is allowed when training is over; when it failed, it may never end."""
        while self._pending:
            if wait:
                self._pending[0][3].synchronize()
            self._take()

    def _take(self) -> None:
        values, has_loss, buffer, done, marks = self._pending.popleft()
        known = bool(done.query())
        if known:
            for index, value in zip(_SCALARS, buffer.tolist()):
                if value == value:  # else it is unknown, or was known at once
                    values[index] = value
            *values[_PHASES], values[_OWN] = phases(marks)
            self._buffers.append(buffer)
            self._release([*marks, (DONE, done)])  # what the device has not reached yet is not used again
        self._write_record(values)
        if known and has_loss and not math.isfinite(values[_LOSS]):
            self._not_finite(values[0], values[_LOSS])

    def _fetch(self, scalars: list[Any]) -> Any:
        buffer = self._buffers.pop() if self._buffers else self.cuda.buffer()
        for index, scalar in enumerate(scalars):
            if getattr(scalar, "is_cuda", False):
                buffer[index : index + 1].copy_(scalar.detach().reshape(1), non_blocking=True)
            else:
                buffer[index] = math.nan if scalar is None else float(scalar)
        return buffer

    def _release(self, marks: list[tuple[int, Any]]) -> None:
        self._events.extend(event for _, event in marks)


def phases(marks: list[tuple[int, Any]]) -> tuple[float, float, float, float, float]:
    """Seconds of forward, backward, optimizer, the whole step, and backward up to the rank's own last gradient
    between `marks`; NaN where there are none."""
    if not marks:
        return (math.nan,) * 5
    spent: dict[int, float] = {}
    last: dict[int, Any] = {}
    for kind, event in marks:
        before = last.get(_SINCE.get(kind, -1))
        if before is not None:
            spent[kind] = spent.get(kind, 0.0) + before.elapsed_time(event) / 1e3
        last[kind] = event
        if kind == AFTER:
            last[READY] = event  # where no loader of torch's brings the next batch, forward begins here
    whole = marks[0][1].elapsed_time(last[DONE]) / 1e3 if DONE in last else math.nan
    forward, backward, optimizer, own = (spent.get(kind, math.nan) for kind in (BACKWARD, AFTER, DONE, OWN))
    return forward, backward, optimizer, whole, own


_SINCE = {BACKWARD: READY, AFTER: BACKWARD, DONE: OPTIMIZER, OWN: BACKWARD}
"""The mark at which the phase begins that ends with this one."""
