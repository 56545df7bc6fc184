"""Evaluation between the steps of a plain loop: told from training, so that it is a pause and not a slow step.

It begins with `model.eval()`, or with a batch that is fetched while gradients are off. It ends with
`model.train()`, else with the last batch that was fetched before backward() is called again. An `eval()` alone,
of a teacher or a frozen tower, is none: nothing is fetched between it and backward().
"""

from __future__ import annotations

import functools
import time
from _thread import get_ident
from collections.abc import Callable
from typing import Any

from .clock import clock

_now = time.monotonic
MOST_WATCHES = 400
WATCH_SECONDS = 1.0
"""How often `Module.train` is watched for the end of an evaluation, at most, and at what distance: replacing a
method of a class makes the interpreter forget what it knew about its 1,000 subclasses."""


class _Evaluation:
    def __init__(self) -> None:
        self.began = 0.0
        self.fetched = False
        """Whether a batch was fetched since it began: an eval() alone is no evaluation."""
        self.last: tuple[float, float, Any] | None = None
        """Begin, end and counts of the last fetch with gradients on: the next step's first batch, perhaps; no
        counts where the loader had no batch any more."""
        self.gradients: Callable[[], bool] = bool
        """torch.is_grad_enabled."""
        self.watches = 0
        self.watched_at = float("-inf")


_state = _Evaluation()


def cancel() -> None:
    """Somebody else counts it."""
    clock.evaluating = False


def leave_out(seconds: float) -> None:
    """Something else took so long meanwhile, and is counted as what it is."""
    _state.began += seconds


def took(began: float, ended: float, counts: Any) -> bool:
    """A batch was fetched while training runs: whether it belongs to an evaluation, or may."""
    gradients = _state.gradients()
    if not clock.evaluating:
        if gradients:
            return False
        _begin(began)
    _state.fetched = True
    _state.last = (began, ended, counts) if gradients else None
    return True


def _begin(now: float) -> None:
    clock.evaluating = True
    _state.began, _state.fetched, _state.last = now, False, None


def over(now: float) -> None:
    """backward() is called: whatever was evaluated is over, since the last batch was fetched."""
    clock.evaluating = False
    if not _state.fetched:
        return
    if _state.last is None:
        _pause(now)
        return
    began, ended, counts = _state.last
    _pause(began)
    clock.data += ended - began
    if counts is not None:
        clock.batches.append(counts)
    clock.mark = ended


def _pause(ended: float) -> None:
    clock.evaluation += ended - _state.began
    clock.pause_for(_state.began, ended)


def patch(torch: Any) -> None:
    """Watch Module.eval, and Module.train while it is needed."""
    _state.gradients = torch.is_grad_enabled
    module = torch.nn.Module
    original_eval, original_train = module.eval, module.train

    @functools.wraps(original_train)
    def train(self: Any, mode: bool = True) -> Any:
        if mode:
            module.train = original_train
            if clock.evaluating and get_ident() == clock.thread:
                clock.evaluating = False
                _pause(_now())
        return original_train(self, mode)

    @functools.wraps(original_eval)
    def eval(self: Any) -> Any:
        answer = original_eval(self)
        if clock.running and clock.owner is None and not clock.evaluating and get_ident() == clock.thread:
            now = _now()
            _begin(now)
            if _state.watches < MOST_WATCHES and now > _state.watched_at + WATCH_SECONDS:
                _state.watches += 1
                _state.watched_at = now
                module.train = train
        return answer

    module.eval = eval
