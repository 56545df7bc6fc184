"""The step that is being made in this process: its phases so far, and the record they become.

Whoever sees something of a step adds it here: the data loaders (`batches`), backward and the optimizer
(`loop`), what stands still meanwhile (`pauses`), the compiler (`compiles`). A step ends with the main optimizer's
step, or when its `owner` says so: a Trainer inside train(), or a loop that calls the API.

The hooks run a hundred milliseconds apart, on caches that the model has emptied. What they cost there is how many
different things they touch, 0.1 to 0.3 us for each: so they touch one object, whose values lie in its slots, call
nothing that they can do without, and leave to the step's end what can wait for it.
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
INSIDE = -1
"""No thread's number."""
_PAUSE = layout.PAUSE
_NOWHERE = [0.0] * len(layout.PHASES)
_SAMPLED_TAIL = (NAN,) * 8
"""Allocator, first norm and GPU phases: known only where sampled, or late."""
MOST_PARTS = 256
"""Batches and losses of a step that are kept one by one: where no step ever ends, memory must not grow."""

Counts = tuple[float, float, float]
"""Samples, tokens and tokens without padding of a batch."""


class Step:
    """Seconds and counts of the current step so far."""

    __slots__ = (
        *("start", "mark", "data", "sync", "forward", "backward", "own", "clip", "optimizer", "compiling"),
        *("pause", "evaluation", "checkpoint", "micro", "batches", "loss", "losses", "unscaled", "unpadded"),
        *("grad_norm", "first_norm", "skipped", "closure", "fused"),
    )

    def __init__(self) -> None:
        self.reset(None)

    def reset(self, start: float | None) -> None:
        """A step begins at `start`; None where only its first batch or backward() will tell."""
        self.start = self.mark = start
        self.data = self.sync = self.forward = self.backward = self.own = self.clip = self.optimizer = 0.0
        self.pause = self.evaluation = self.checkpoint = self.compiling = 0.0
        self.micro = 0
        self.batches: list[Counts] = []
        self.loss: float | None = None
        self.losses: list[Any] = []
        self.unpadded: list[Any] = []
        self.unscaled = self.grad_norm = self.first_norm = None
        self.skipped = NAN
        self.closure = False
        """Whether an optimizer ran forward and backward within its step."""
        self.fused = 0.0
        """Seconds of optimizers that stepped within backward()."""

    def restart(self) -> None:
        """The step begins only now: somebody trained something else since the last one's end."""
        start, evaluation, checkpoint = self.start, self.evaluation, self.checkpoint
        self.reset(start)
        self.evaluation, self.checkpoint = evaluation, checkpoint


class Clock(Step):
    """The current step, and what outlives it."""

    __slots__ = (
        *("running", "off", "thread", "here", "recorder", "since", "owner", "automatic", "main", "late"),
        *("listening", "reading", "evaluating", "ready", "stepping", "stepped", "began", "nested", "finite"),
        *("number", "count", "sampled", "sample_at", "sample_by", "norms", "accumulates", "ddp_iteration"),
        *("others", "most_others", "main_steps", "called"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.running = False
        """Whether training began, so that there is a ring; until then each batch starts the first step anew."""
        self.off = False
        """There will be no ring: it cannot be made, or is a parent's."""
        self.thread = get_ident()
        """Only this one trains; loaders and savers in other threads cost it nothing."""
        self.here = 0
        """The thread whose backward() is the training's: none before it runs, nor outside of a Trainer's
        training_step; INSIDE such a call."""
        self.recorder: Any = None
        self.since: Any = _NOWHERE
        """The ring's layout.SINCE, by phase."""
        self.owner: Any = None
        """The Trainer's watch while it is inside train(): it counts losses and ends the steps."""
        self.automatic = True
        """Whether the main optimizer's step ends a step of the job."""
        self.main: Any = _nobody
        """Weak reference to the main optimizer."""
        self.others = self.most_others = self.main_steps = 0
        """Steps of other optimizers since the main one's last, the most so far, and steps of the main one."""
        self.late: Late | None = None
        self.listening = True
        """Whether the loaders' batches are for training; a Trainer says when."""
        self.reading = False
        """Whether an outer iterator fetches a batch now, whose time is taken as a whole."""
        self.evaluating = False
        """Whether what happens now is an evaluation, as far as one can know."""
        self.ready = 0.0
        """When this backward's last gradient of this rank's own was there, monotonic; 0.0 while it is not."""
        self.stepping = 0
        """id of the optimizer whose step runs now."""
        self.stepped = False
        """Whether one stepped since a GradScaler asked for it."""
        self.called = (0, 0)
        """Without a loader of torch's: count and micro of the latest pass whose forward was seen."""
        self.began = self.nested = 0.0
        """When its step began, and how much forward and backward there were before it."""
        self.number = self.count = 0
        """The last step's number, and how many were recorded."""
        self.sampled = True
        """Whether the current step takes what is dear to read."""
        self.sample_at, self.sample_by = 0, 0.0
        """The count and the time from which on one does again."""
        self.norms = False
        """Whether the current step takes norms of gradients, which reads them all: the second, then 1 in 100."""
        self.accumulates = False
        """Whether the last step had several micro-steps."""
        self.ddp_iteration = 0
        self.finite = True

    def begin(self) -> bool:
        """Training begins now, in this thread: make the ring. False where nothing is to be recorded."""
        if self.off:
            return False
        self.recorder = session.recorder()
        if self.recorder is None:
            self.off = True
            return False
        self.since = self.recorder.since
        self.running = self.sampled = self.finite = True
        self.thread = self.here = get_ident()
        self.main = _nobody
        self.count = 0
        return True

    def foretell(self) -> None:
        """A batch is fetched before training begins: where DDP made the ring, say already what the rank does."""
        ring = session.made()
        if ring is not None:
            self.since = ring.since

    def leave(self, wait: bool) -> None:
        """Training ended, or goes on under somebody else: write what is pending, forget the unfinished step."""
        if self.late is not None and self.running:
            self.late.flush(wait)
        self.running = False
        self.here = self.stepping = 0
        self.reset(None)

    def take_loss(self, loss: Any) -> None:
        """Add a scalar tensor to the step's loss; on a GPU its value comes later, elsewhere it stays unknown."""
        try:
            if loss.is_cpu:
                known = self.loss
                self.loss = loss.item() if known is None else known + loss.item()
            elif loss.is_cuda:
                self.losses.append(loss.detach())
                if self.late is None:
                    self.use_cuda()
                if len(self.losses) > MOST_PARTS:
                    self.losses = [self.late.cuda.total(self.losses)]  # type: ignore[union-attr]
        except Exception as error:  # telemetry must not stop training
            failed("reading the loss", error)

    def take_batch(self, counts: Counts) -> None:
        """Add a batch to the step's."""
        self.batches.append(counts)
        if len(self.batches) > MOST_PARTS:
            samples, tokens, real = (sum(column) for column in zip(*self.batches))
            self.batches = [(samples, tokens, real)]

    def last_gradient(self, _parameter: Any) -> None:
        """Hook on the parameter whose gradient comes last; on a GPU from a thread of autograd's."""
        self.ready = _now()
        if self.late is not None:
            self.late.mark(OWN)

    def pause_for(self, began: float, ended: float) -> None:
        """What happened from `began` to `ended` was no part of the step."""
        self.pause += ended - began
        self.mark = ended

    def end(self, ended: float, number: int, rate: float, norm: Any = None) -> None:
        """The step ends: write its record, now or when its late values are there. Never raises."""
        self.number = number
        self.count += 1
        try:
            if self.start is not None:
                self._record(ended, rate, self.grad_norm if norm is None else norm)
            if self.sampled or self.count >= self.sample_at or ended >= self.sample_by:
                self._choose(ended)
        except Exception as error:  # telemetry must not stop training
            failed("recording a step", error)
        self.reset(ended)
        self.since[_PAUSE] = ended

    def _record(self, ended: float, rate: float, norm: Any) -> None:
        nan, late, data, sync, pause = NAN, self.late, self.data, self.sync, self.pause
        forward, backward, optimizer, micro = self.forward, self.backward, self.optimizer, self.micro
        duration = ended - self.start - pause  # type: ignore[operator]
        samples = tokens = real = 0.0
        for batch in self.batches:
            samples += batch[0]
            tokens += batch[1]
            real += batch[2]
        loss, grad_norm = self._scalars(norm) if late is None else (nan if self.loss is None else self.loss, nan)
        # A loop of the job's own may have no loader, no backward() or no optimizer that we see: unknown, not 0.
        values = [
            self.number,
            ended,
            _wall(),
            samples or nan,
            tokens or nan,
            micro,
            loss,
            grad_norm,
            rate,
            duration,
            data or nan,
            sync or nan,
            forward if micro else nan,
            backward or nan,
            optimizer or nan,
            duration - data - sync - forward - backward - optimizer,
            pause,
            nan,
            nan,
            nan,
            nan,
            real or nan,
            self.clip,
            self.compiling,
            self.evaluation,
            self.checkpoint,
        ]
        own = self.own
        if self.first_norm is not None and not self._accumulated():
            self.first_norm = None
        if own == own or late is not None or self.skipped == 1.0 or self.first_norm is not None:
            values += (*_SAMPLED_TAIL, self.skipped, own or nan, nan)
        if self.sampled:
            self._sample(values, ended)
        if late is None:
            self.recorder.step(values)
        else:
            late.write(values, self.losses, norm, self.first_norm, self.unpadded)

    def _accumulated(self) -> bool:
        """Whether the step's passes were micro-batches of one optimizer's step: several losses of one batch, and
        the turns of several optimizers, are no samples of one gradient."""
        if self.closure or self.others:
            return False
        # Without a loader of torch's, only DDP's no_sync() tells: there is no such norm without it.
        return len(self.batches) == self.micro if self.batches else ddp.latest() is not None

    def _scalars(self, norm: Any) -> tuple[float, float]:
        """Loss and grad norm, read one after the other: the second costs a tenth of the first."""
        loss, grad_norm = self.loss, NAN
        try:
            for tensor in self.losses:
                loss = tensor.item() if loss is None else loss + tensor.item()
            if norm is not None:
                grad_norm = norm.item() if hasattr(norm, "item") else norm  # float() costs 5 us more
        except Exception as error:  # no scalars: they stay unknown
            failed("reading loss and grad norm", error)
        if loss is None:
            return NAN, grad_norm
        if loss - loss != 0.0:
            self.not_finite(float(self.number), loss)
        return loss, grad_norm

    def not_finite(self, number: float, loss: float) -> None:
        """Tell the first loss that is not a finite number."""
        if self.finite:
            self.finite = False
            session.event("nan", number, loss=str(loss))

    def _sample(self, values: list[float], ended: float) -> None:
        """Fill in what is dear to read: DDP's own times where torch took them, the CUDA allocator's numbers."""
        self.sample_by = ended + SAMPLE_SECONDS
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
        elif self.first_norm is not None:
            values[FIRST_NORM] = float(self.first_norm)

    def _choose(self, ended: float) -> None:
        """What of all that is dear to read the next step takes."""
        count, every = self.count, ddp.sample_every() or SAMPLE_STEPS
        self.accumulates = self.micro > 1
        self.norms = count == 1 or count % SAMPLE_STEPS == 0
        self.sampled = self.norms or count < SAMPLE_FIRST or count % every == 0 or ended >= self.sample_by
        self.sample_at = min((count // step + 1) * step for step in (every, SAMPLE_STEPS))
        if count <= BUCKETS_AT:
            self._milestone()

    def _milestone(self) -> None:
        if self.count == 1:
            session.event("first_step", float(self.number))
            self._describe()
        model = ddp.latest()
        if self.count > 1 and model is not None:
            ddp.watch_last_gradient(model, must=self.count == BUCKETS_AT)
        if self.count == BUCKETS_AT and model is not None:
            session.describe(buckets=ddp.buckets(model))

    def _describe(self) -> None:
        if self.owner is None:
            tokens = any(batch[1] for batch in self.batches)
            session.describe(**describe.device(self.late is not None), **describe.loop(self.main(), tokens))
        elif self.late is not None:
            session.describe(**describe.device(True))

    def use_cuda(self) -> Late:
        """Losses are on a CUDA device: their values, and the phases between events, arrive steps later."""
        self.late = Late(Cuda(sys.modules["torch"]), self.recorder.step, self.not_finite)
        return self.late

    def forked(self) -> None:
        """In a forked child: a ring is its parent's; where there is none yet, the child may be what trains."""
        self.thread = get_ident()
        self.here = 0
        self.reading = False
        self.reset(None)
        self.since = _NOWHERE
        self.off = self.off or self.recorder is not None
        self.running = False


def _nobody() -> None:
    return None


clock = Clock()
os.register_at_fork(after_in_child=clock.forked)
