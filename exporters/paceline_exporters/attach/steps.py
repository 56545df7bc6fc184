"""The phases of a Trainer's optimizer step, taken with instance wrappers while train() runs.

Per optimizer step: data wait and sync wait in get_batch_samples, forward and backward in training_step, the
optimizer between torch's own global step hooks, and the step's end at the entry of
_maybe_log_save_evaluate, which also brings grad norm and learning rate. Times are host times.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from . import ddp, layout, session
from .notice import failed
from .recorder import Recorder
from .scalars import Scalars

NAN = float("nan")
_ABSENT = object()
_now, _wall = time.monotonic, time.time
_COMMUNICATION = slice(
    layout.STEP_FIELDS.index("ddp_compute_seconds"), layout.STEP_FIELDS.index("gpu_memory_peak_bytes")
)
_MEMORY = layout.STEP_FIELDS.index("gpu_memory_peak_bytes")

DDP_FIRST = 10
"""torch takes DDP's times in the first 10 passes that reduce, then in 1 of 100 (torch/csrc/distributed/c10d), and
shows them in the next pass: a record's are those of the step before."""
MEMORY_EVERY = 50
"""Steps between later reads of DDP's times and of the CUDA allocator's peak, which builds a large dict."""
BUCKETS_AT = 3
"""Step after which DDP's buckets are as torch rebuilt them."""


class StepClock:
    """Wraps one Trainer for the length of one train(); `install` and `remove` may alternate."""

    def __init__(self, trainer: Any, recorder: Recorder, before_first_step: Callable[[Any], None]) -> None:
        self._trainer = trainer
        self._recorder = recorder
        self._before_first_step: Callable[[Any], None] | None = before_first_step
        self._scalars = Scalars(trainer.args.device, recorder)
        self._last_step = 0  # train() counts from 0, or from the step it resumes at
        self._steps = 0
        self._ddp_iteration = 0
        self._wrapped: list[tuple[Any, str, Any, Any]] = []
        self._handles: list[Any] = []

    def install(self) -> None:
        """Begin to measure, from the next step on."""
        trainer = self._trainer
        self._start_over(None)
        self._wrap(trainer, "get_batch_samples", self._batch_samples)
        self._wrap(trainer, "training_step", self._training_step)
        self._wrap(trainer.accelerator, "backward", self._backward)
        self._wrap(trainer, "_maybe_log_save_evaluate", self._step_end)
        optimizers = sys.modules["torch.optim.optimizer"]
        self._handles = [
            optimizers.register_optimizer_step_pre_hook(self._optimizer_begins),
            optimizers.register_optimizer_step_post_hook(self._optimizer_ended),
        ]

    def remove(self, wait: bool = True) -> None:
        """Leave the Trainer as it was, and write what is still pending; do not `wait` for it after a failure."""
        for owner, name, ours, before in reversed(self._wrapped):
            if owner.__dict__.get(name) is not ours:
                continue  # the job wrapped ours; taking it away would take theirs
            if before is _ABSENT:
                del owner.__dict__[name]
            else:
                owner.__dict__[name] = before
        for handle in self._handles:
            handle.remove()
        self._wrapped, self._handles = [], []
        self._scalars.flush(wait)

    def _wrap(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        before = owner.__dict__.get(name, _ABSENT)
        ours = owner.__dict__[name] = make(getattr(owner, name))
        self._wrapped.append((owner, name, ours, before))

    def _start_over(self, end: float | None) -> None:
        self._previous_end = end
        self._data = self._gather = self._step_call = self._backward_time = self._optimizer = 0.0
        self._pause = 0.0
        self._nested = 0
        self._samples = self._tokens = 0
        self._micro = 0
        self._losses: list[Any] = []

    def _batch_samples(self, original: Any) -> Any:
        def get_batch_samples(iterator: Iterator[Any], *args: Any, **keywords: Any) -> Any:
            if self._before_first_step is not None:
                check, self._before_first_step = self._before_first_step, None
                check(self._trainer)
            began = _now()
            if self._previous_end is None:
                self._previous_end = began
            waited = self._data
            answer = original(_TimedIterator(iterator, self), *args, **keywords)
            self._gather += _now() - began - (self._data - waited)
            return answer

        return get_batch_samples

    def _training_step(self, original: Any) -> Any:
        def training_step(model: Any, inputs: Any, *args: Any, **keywords: Any) -> Any:
            samples, tokens = count(inputs)
            self._nested += 1
            began = _now()
            loss = original(model, inputs, *args, **keywords)
            self._step_call += _now() - began
            self._nested -= 1
            self._samples += samples
            self._tokens += tokens
            self._micro += 1
            self._losses.append(loss)
            return loss

        return training_step

    def _backward(self, original: Any) -> Any:
        def backward(*args: Any, **keywords: Any) -> Any:
            began = _now()
            answer = original(*args, **keywords)
            self._backward_time += _now() - began
            return answer

        return backward

    def _optimizer_begins(self, *_: Any) -> None:
        # An optimizer may step others, and a training_step may step its own: no time is counted twice.
        self._nested += 1
        if self._nested == 1:
            self._optimizer_began = _now()

    def _optimizer_ended(self, *_: Any) -> None:
        if self._nested == 1:
            self._optimizer += _now() - self._optimizer_began
        self._nested -= 1

    def _step_end(self, original: Any) -> Any:
        def _maybe_log_save_evaluate(*args: Any, **keywords: Any) -> Any:
            ended = _now()
            if self._micro and self._trainer.state.global_step != self._last_step:
                try:
                    self._record(ended, args, keywords)
                except Exception as error:  # telemetry must not stop training
                    failed("recording a step", error)
                self._start_over(ended)
            answer = original(*args, **keywords)
            self._pause += _now() - ended
            return answer

        return _maybe_log_save_evaluate

    def _record(self, ended: float, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        step = self._last_step = self._trainer.state.global_step
        self._steps += 1
        if self._previous_end is not None:
            duration = ended - self._previous_end - self._pause
            accounted = self._data + self._gather + self._step_call + self._optimizer
            rate = keywords.get("learning_rate")
            backward = self._backward_time or NAN  # a training_step of the job's own may call no accelerator
            values = [
                step,
                ended,
                _wall(),
                self._samples or NAN,
                self._tokens or NAN,
                self._micro,
                NAN,
                NAN,
                NAN if rate is None else rate,
                duration,
                self._data,
                self._gather,
                self._step_call - backward,
                backward,
                self._optimizer or NAN,
                duration - accounted,
                self._pause,
                NAN,
                NAN,
                NAN,
                NAN,
            ]
            if self._steps <= DDP_FIRST or self._steps % MEMORY_EVERY == 1:
                self._sample(values)
            grad_norm = args[1] if len(args) > 1 else keywords.get("grad_norm")
            self._scalars.write(values, self._losses, grad_norm)
        if self._steps <= BUCKETS_AT:
            self._milestone(step)

    def _sample(self, values: list[float]) -> None:
        """Fill in what is dear to read: DDP's own times where torch took them, the allocator's peak."""
        model, device = self._trainer.model_wrapped, self._trainer.args.device
        if hasattr(model, "_get_ddp_logging_data"):
            iteration, *times = ddp.sampled_times(model)
            if iteration > self._ddp_iteration:
                self._ddp_iteration = iteration
                values[_COMMUNICATION] = times
        if device.type == "cuda" and self._steps % MEMORY_EVERY == 1:
            values[_MEMORY] = float(sys.modules["torch"].cuda.max_memory_allocated(device))

    def _milestone(self, step: int) -> None:
        if self._steps == 1:
            session.event("first_step", float(step))
        elif self._steps == BUCKETS_AT and hasattr(self._trainer.model_wrapped, "_get_ddp_logging_data"):
            session.describe(buckets=ddp.buckets(self._trainer.model_wrapped))


class _TimedIterator:
    """The epoch's iterator, with the seconds of each next() added to the clock's data wait."""

    __slots__ = ("_clock", "_iterator")

    def __init__(self, iterator: Iterator[Any], clock: StepClock) -> None:
        self._iterator = iterator
        self._clock = clock

    def __iter__(self) -> _TimedIterator:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._iterator, name)  # a get_batch_samples of the job's own may know its loader

    def __next__(self) -> Any:
        began = _now()
        try:
            return next(self._iterator)
        finally:
            self._clock._data += _now() - began


def count(inputs: Any) -> tuple[int, int]:
    """Samples and input tokens (padding included) of one micro-batch; 0 where they cannot be told."""
    try:
        ids = inputs.get("input_ids")
        if ids is not None:
            shape = ids.shape
            return shape[0], shape[0] * shape[1] if len(shape) > 1 else shape[0]
        for value in inputs.values():
            shape = getattr(value, "shape", ())
            if shape:
                return shape[0], 0
    except Exception:  # any object may be a batch, and it is the job's, not ours, to be handled
        return 0, 0
    return 0, 0
