"""A Hugging Face Trainer's steps, taken with instance wrappers while train() runs.

Trainer knows better than any hook when a step begins and ends, which batches are for training and what the loss
is; all else comes from the hooks that watch any loop. Per optimizer step: data wait and sync wait in
get_batch_samples, the loss from training_step, and the step's end at the entry of _maybe_log_save_evaluate, which
also brings grad norm and learning rate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import GeneratorType
from typing import Any

from . import crash
from .batches import TIMED, timed
from .clock import NAN, clock
from .late import READY

_ABSENT = object()
_now = time.monotonic


class StepClock:
    """Wraps one Trainer for the length of one train(); `install` and `remove` may alternate."""

    def __init__(self, trainer: Any, before_first_step: Callable[[Any], None]) -> None:
        self._trainer = trainer
        self._before_first_step: Callable[[Any], None] | None = before_first_step
        self._wrapped: list[tuple[str, Any, Any]] = []

    def install(self) -> None:
        """Begin to measure, from the next step on."""
        clock.leave(wait=False)
        if not clock.begin():
            return
        clock.owner, clock.automatic, clock.listening, clock.here = self, False, False, 0
        if self._trainer.args.device.type == "cuda" and clock.late is None:
            clock.use_cuda()
        self._wrap("get_batch_samples", self._batch_samples)
        self._wrap("training_step", self._training_step)
        self._wrap("_maybe_log_save_evaluate", self._step_end)

    def remove(self, wait: bool = True) -> None:
        """Leave the Trainer as it was, and write what is still pending; do not `wait` for it after a failure."""
        held = self._trainer.__dict__
        for name, ours, before in reversed(self._wrapped):
            if held.get(name) is not ours:
                continue  # the job wrapped ours; taking it away would take theirs
            if before is _ABSENT:
                del held[name]
            else:
                held[name] = before
        self._wrapped = []
        if clock.owner is self:
            clock.owner, clock.automatic, clock.listening = None, True, True
            clock.leave(wait)

    def _wrap(self, name: str, make: Callable[[Any], Any]) -> None:
        held = self._trainer.__dict__
        before = held.get(name, _ABSENT)
        held[name] = make(getattr(self._trainer, name))
        self._wrapped.append((name, held[name], before))

    def _batch_samples(self, original: Any) -> Any:
        step, now, foreign = clock, _now, True

        def get_batch_samples(iterator: Iterator[Any], *args: Any, **keywords: Any) -> Any:
            nonlocal foreign
            if step.owner is not self:  # the job keeps this wrapper, of an earlier train()
                return original(iterator, *args, **keywords)
            if step.start is None:
                foreign = type(iterator) is not GeneratorType or iterator.gi_code is not TIMED
                self._begin()
            elif step.micro or step.batches or step.optimizer:
                step.restart()  # a callback has trained a probe, or what failed is tried again
            began = now()
            # All batches of a step come at once: before them lie logging, evaluation, checkpoints of anybody's.
            step.pause = began - step.start  # type: ignore[operator]
            step.listening = True
            answer = original(timed(iterator) if foreign else iterator, *args, **keywords)
            step.listening = False
            step.mark = ended = now()
            step.sync = ended - began - step.data
            return answer

        return get_batch_samples

    def _begin(self) -> None:
        if self._before_first_step is not None:
            check, self._before_first_step = self._before_first_step, None
            check(self._trainer)
        clock.start = _now()

    def _training_step(self, original: Any) -> Any:
        step = clock

        def training_step(*args: Any, **keywords: Any) -> Any:
            if step.owner is not self:
                return original(*args, **keywords)
            if step.micro:
                step.mark = _now()
            if step.late is not None:
                step.late.mark(READY)
            step.here = step.thread
            try:
                loss = original(*args, **keywords)
            except BaseException as error:
                crash.noticed(error)
                raise
            step.here = 0  # a callback's backward() is none of the job's
            step.losses.append(loss)
            return loss

        return training_step

    def _step_end(self, original: Any) -> Any:
        step, now, trainer = clock, _now, self._trainer
        last = 0  # train() counts from 0, or from the step it resumes at

        def _maybe_log_save_evaluate(*args: Any, **keywords: Any) -> Any:
            nonlocal last
            ended = now()
            number = trainer.state.global_step
            if step.micro and number != last and step.owner is self:
                last = number
                rate = keywords.get("learning_rate")
                norm = args[1] if len(args) > 1 else keywords.get("grad_norm")
                step.end(ended, number, NAN if rate is None else rate, norm)
            return original(*args, **keywords)

        return _maybe_log_save_evaluate


def evaluated(began: float, ended: float) -> None:
    """Trainer.evaluate ran while train() does."""
    if clock.owner is not None:
        clock.evaluation += ended - began
