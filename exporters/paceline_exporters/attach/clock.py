"""The step that is being made in this process: its phases so far, and the record they become.

Whoever sees something of a step adds it here: the data loaders (`batches`), backward and the optimizer
(`loop`), what stands still meanwhile (`pauses`), the compiler (`compiles`). A step ends with the main optimizer's
step, or when its `owner` says so: a Trainer inside train(), or a loop that calls the API.

The hooks run a hundred milliseconds apart, on caches that the model has emptied, so what they touch is two small
objects, and they do not call each other more than they must.
"""

from __future__ import annotations

import os
import sys
import time
from _thread import get_ident
from typing import Any

from . import ddp, describe, layout, session
from .late import OWN, Cuda, Late
from .notice import failed

NAN = float("nan")
_now, _wall = time.monotonic, time.time

SAMPLE_FIRST = 10
SAMPLE_STEPS = 100
SAMPLE_SECONDS = 10.0
"""What is dear to read is read in the first 10 steps, then every 100 steps or 10 s. torch itself takes DDP's
times in the first 10 passes that reduce, then in 1 of 100 (torch/csrc/distributed/c10d), and shows them in the
next."""
BUCKETS_AT = 3
"""Step after which DDP's buckets are as torch rebuilt them."""

LOSS, GRAD_NORM, FIRST_NORM = (
    layout.STEP_FIELDS.index(name) for name in ("loss", "grad_norm", "grad_norm_first_micro")
)
_DDP = slice(layout.STEP_FIELDS.index("ddp_compute_seconds"), layout.STEP_FIELDS.index("ddp_exposed_seconds") + 1)
_MEMORY = {
    layout.STEP_FIELDS.index(field): path
    for field, path in {
        "gpu_memory_peak_bytes": ("allocated_bytes", "all", "peak"),
        "gpu_memory_allocated_bytes": ("allocated_bytes", "all", "current"),
        "gpu_memory_reserved_bytes": ("reserved_bytes", "all", "current"),
        "allocator_retries": ("num_alloc_retries",),
    }.items()
}
PHASE_WORD = layout.PHASE_OFFSET // 8
_NOWHERE = [0] * (PHASE_WORD + 1)
_SAMPLED_TAIL = (NAN,) * 8
"""Allocator, first norm and GPU phases: known only where sampled, or late."""


class Step:
    """Seconds and counts of the current step so far. At most 30 attributes: CPython keeps those in one block."""

    def __init__(self) -> None:
        self.reset(None)

    def reset(self, start: float | None) -> None:
        """A step begins at `start`; None where only its first batch or backward() will tell."""
        self.start = self.mark = start
        self.data = self.sync = self.forward = self.backward = self.optimizer = self.clip = 0.0
        self.pause = self.evaluation = self.checkpoint = self.compiling = 0.0
        self.samples = self.tokens = self.micro = 0
        self.real = 0.0
        self.loss: float | None = None
        self.losses: list[Any] = []
        self.grad_norm: Any = None
        self.first_norm: Any = None
        self.unscaled: Any = None
        self.skipped = NAN
        self.own = 0.0


class Clock:
    """What outlives a step."""

    def __init__(self) -> None:
        self.step = Step()
        self.running = False
        """Whether training began, so that there is a ring; until then each batch starts the first step anew."""
        self.off = False
        """There will be no ring: it cannot be made, or is a parent's."""
        self.thread = get_ident()
        """Only this one trains; loaders and savers in other threads cost it nothing."""
        self.recorder: Any = None
        self.owner: Any = None
        """The Trainer's watch while it is inside train(): it counts batches and losses, and ends the steps."""
        self.automatic = True
        """Whether the main optimizer's step ends a step of the job."""
        self.main: Any = _nobody
        """Weak reference to the main optimizer."""
        self.listening = True
        """Whether the loaders' batches are for training; a Trainer says when."""
        self.busy = False
        """Inside a call that is timed already, such as backward()."""
        self.number = self.count = 0
        """The last step's number, and how many were recorded."""
        self.sampled = True
        """Whether the current step takes what is dear to read."""
        self.norms = False
        """Whether the current step takes norms of gradients, which reads them all: the second, then 1 in 100."""
        self.sampled_at = 0.0
        self.accumulates = False
        """Whether the last step had several micro-steps."""
        self.late: Late | None = None
        self.ddp_iteration = 0
        self.finite = True
        self.batch: tuple[int, int, float] = (0, 0, NAN)
        """Samples, tokens and tokens without padding of the latest batch."""
        self.words: Any = _NOWHERE
        """The ring's words: what this rank does now is stored in one of them."""
        self.ready = 0.0
        """When this backward's last gradient of this rank's own was there, monotonic; 0.0 while it is not."""

    def begin(self) -> bool:
        """Training begins now, in this thread: make the ring. False where nothing is to be recorded."""
        if self.off:
            return False
        self.recorder = session.recorder()
        if self.recorder is None:
            self.off = True
            return False
        self.words = self.recorder.words
        self.running = self.sampled = True
        self.thread = get_ident()
        self.main = _nobody
        self.count = 0
        return True

    def leave(self, wait: bool) -> None:
        """Training ended, or goes on under somebody else: write what is pending, forget the unfinished step."""
        if self.late is not None and self.running:
            self.late.flush(wait)
        self.running = False
        self.step.reset(None)

    def take_loss(self, loss: Any) -> None:
        """Add a scalar tensor to the step's loss; on a GPU its value comes later, elsewhere it stays unknown."""
        try:
            if loss.is_cpu:
                known = self.step.loss
                self.step.loss = loss.item() if known is None else known + loss.item()
            elif loss.is_cuda:
                self.step.losses.append(loss.detach())
                if self.late is None:
                    self.use_cuda()
        except Exception as error:  # telemetry must not stop training
            failed("reading the loss", error)

    def last_gradient(self, _parameter: Any) -> None:
        """Hook on the parameter whose gradient comes last; on a GPU from a thread of autograd's."""
        self.ready = _now()
        if self.late is not None:
            self.late.mark(OWN)

    def pause_for(self, began: float, ended: float) -> None:
        """What happened from `began` to `ended` was no part of the step."""
        self.step.pause += ended - began
        self.step.mark = ended

    def end(self, ended: float, number: int, rate: float, norm: Any = None) -> None:
        """The step ends: write its record, now or when its late values are there. Never raises."""
        try:
            self._record(ended, number, rate, norm)
        except Exception as error:  # telemetry must not stop training
            failed("recording a step", error)
        self.step.reset(ended)
        self.words[PHASE_WORD] = int(ended * 1e6) << 4 | layout.PAUSE

    def _record(self, ended: float, number: int, rate: float, norm: Any) -> None:
        s = self.step
        self.number = number
        self.count += 1
        if s.start is None:
            return
        duration = ended - s.start - s.pause
        # A loop of the job's own may have no loader, no backward() or no optimizer that we see: unknown, not 0.
        values = [
            number,
            ended,
            _wall(),
            s.samples or NAN,
            s.tokens or NAN,
            s.micro,
            NAN if s.loss is None else s.loss,
            NAN,
            rate,
            duration,
            s.data or NAN,
            s.sync or NAN,
            s.forward,
            s.backward or NAN,
            s.optimizer or NAN,
            duration - s.data - s.sync - s.forward - s.backward - s.optimizer,
            s.pause,
            NAN,
            NAN,
            NAN,
            NAN,
            s.real or NAN,
            s.clip,
            s.compiling,
            s.evaluation,
            s.checkpoint,
            *_SAMPLED_TAIL,
            s.skipped,
            s.own or NAN,
            NAN,
        ]
        if self.sampled:
            self._sample(values, ended)
        if self.late is not None:
            self.late.write(values, s.losses, s.grad_norm if norm is None else norm, s.first_norm)
        else:
            self._write(values, s.grad_norm if norm is None else norm)
        self.accumulates = s.micro > 1
        self.norms = self.count == 1 or self.count % SAMPLE_STEPS == 0
        self.sampled = (
            self.count < SAMPLE_FIRST
            or self.count % (ddp.sample_every() or SAMPLE_STEPS) == 0
            or ended > self.sampled_at + SAMPLE_SECONDS
        )
        if self.count <= BUCKETS_AT:
            self._milestone()

    def _write(self, values: list[float], norm: Any) -> None:
        if norm is not None:
            values[GRAD_NORM] = float(norm)
        if self.step.first_norm is not None:
            values[FIRST_NORM] = float(self.step.first_norm)
        self.recorder.step(values)
        loss = self.step.loss
        if loss is not None and loss - loss != 0.0:
            self.not_finite(values)

    def not_finite(self, values: list[float]) -> None:
        """Tell the first loss that is not a finite number."""
        if self.finite:
            self.finite = False
            session.event("nan", float(values[0]), loss=str(values[LOSS]))

    def _sample(self, values: list[float], ended: float) -> None:
        """Fill in what is dear to read: DDP's own times where torch took them, the CUDA allocator's numbers."""
        self.sampled_at = ended
        model = ddp.latest()
        if model is not None:
            iteration, *times = ddp.sampled_times(model)
            if iteration > self.ddp_iteration:
                self.ddp_iteration = iteration
                values[_DDP] = times
        if self.late is not None:
            memory = self.late.cuda.memory()
            for index, path in _MEMORY.items():
                values[index] = describe.within(memory, path)

    def _milestone(self) -> None:
        if self.count == 1:
            session.event("first_step", float(self.number))
            self._describe()
        model = ddp.latest()
        if self.count == BUCKETS_AT and model is not None:
            session.describe(buckets=ddp.buckets(model))

    def _describe(self) -> None:
        if self.owner is None:
            optimizer, (_, tokens, _) = self.main(), self.batch
            session.describe(
                **describe.device(self.late is not None),
                **describe.loop(optimizer, tokens > 0),
            )
        elif self.late is not None:
            session.describe(**describe.device(True))

    def use_cuda(self) -> Late:
        """Losses are on a CUDA device: their values, and the phases between events, arrive steps later."""
        self.late = Late(Cuda(sys.modules["torch"]), self.recorder.step, self.not_finite)
        return self.late

    def forked(self) -> None:
        """In a forked child: a ring is its parent's; where there is none yet, the child may be what trains."""
        self.thread = get_ident()
        self.step.reset(None)
        self.words = _NOWHERE
        self.off = self.off or self.recorder is not None
        self.running = False


def _nobody() -> None:
    return None


clock = Clock()
os.register_at_fork(after_in_child=clock.forked)
