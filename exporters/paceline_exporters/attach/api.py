"""For loops that no hook understands: who trains says when a step ends. Importable by the job as `paceline_step`.

Three lines, which do nothing where Paceline is absent:

    import sys
    done = getattr(sys.modules.get("paceline_step"), "done", lambda **_: None)
    done(samples=8, tokens=4096, loss=loss)  # after each optimizer step

The first call begins to measure; from then on optimizers' own steps end none. What the hooks see (loaders,
backward, clipping, optimizers) is still told apart. `pause(kind)` is a context manager for what is no step:
"evaluation", "checkpoint", or anything else.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # this is imported before the job's own imports: typing would cost 11 ms
    from typing import Any

_NAN = float("nan")


def done(
    number: int | None = None,
    samples: float | None = None,
    tokens: float | None = None,
    real_tokens: float | None = None,
    loss: Any = None,
    learning_rate: float | None = None,
    grad_norm: Any = None,
) -> None:
    """An optimizer step ended. `number`: the job's own count of steps; what is left out is taken from the hooks.

    `tokens` includes padding, `real_tokens` does not. Never raises.
    """
    try:
        _done(number, (samples, tokens, real_tokens), loss, learning_rate, grad_norm)
    except Exception as error:  # telemetry must not stop training
        from .notice import failed

        failed("recording a step", error)


def _done(number: int | None, counts: tuple[float | None, ...], loss: Any, rate: float | None, norm: Any) -> None:
    from . import crash
    from .clock import clock

    now = time.monotonic()
    if clock.owner is not None:
        return  # a Trainer says it better
    clock.automatic = False
    if not clock.running:
        crash.watch()
        if clock.begin() and clock.start is None:
            clock.reset(now)
            return
    if not clock.running:
        return
    if any(count is not None for count in counts):
        seen = [sum(column) for column in zip(*clock.batches)] or [0, 0, _NAN]
        samples, tokens, real = (was if count is None else count for was, count in zip(seen, counts))
        clock.batches = [(samples, tokens, real)]
    if loss is not None:
        clock.loss, clock.losses = (float(loss), []) if isinstance(loss, (int, float)) else (None, [])
        if clock.loss is None:
            clock.take_loss(loss)
    clock.end(now, clock.number + 1 if number is None else number, _NAN if rate is None else rate, norm)


class pause:
    """`with pause("evaluation"):` what happens inside is no part of a step."""

    def __init__(self, kind: str = "") -> None:
        self._field = kind if kind in ("evaluation", "checkpoint") else ""

    def __enter__(self) -> None:
        from .clock import clock

        self._clock = clock
        self._listened, clock.listening = clock.listening, False
        self._before = clock.pause
        self._began = time.monotonic()

    def __exit__(self, *_: Any) -> None:
        from . import evaluation

        clock, ended = self._clock, time.monotonic()
        clock.listening = self._listened
        evaluation.cancel()
        if not clock.running:
            return
        known = clock.pause - self._before  # a checkpoint inside was seen by itself
        if self._field:
            setattr(clock, self._field, getattr(clock, self._field) + ended - self._began - known)
        clock.pause_for(self._began + known, ended)
