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
        self.compiling: Callable[[], bool] = bool
        """torch.compiler.is_compiling: a compiler sees it as constant."""
        self.watching = False
        """Whether Module.train is watched: from the first eval() of a job that evaluates, and for good. Replacing
        a method of a class makes the interpreter forget what it knew about its 1,000 subclasses."""


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
        clock.take_batch(counts)
    clock.mark = ended


def _pause(ended: float) -> None:
    clock.evaluation += ended - _state.began
    clock.pause_for(_state.began, ended)


def patch(torch: Any) -> None:
    """Watch Module.eval, and Module.train once that was called."""
    _state.gradients = torch.is_grad_enabled
    module = torch.nn.Module
    original_eval = module.eval

    compiling = _state.compiling = getattr(torch.compiler, "is_compiling", bool)

    @functools.wraps(original_eval)
    def eval(self: Any) -> Any:
        if compiling():
            return original_eval(self)
        trained = getattr(self, "training", True)  # a teacher that never trains is put to eval() in each step
        answer = original_eval(self)
        if trained and not clock.evaluating and is_plain_training():
            if not _state.watching:
                _state.watching = True
                module.train = traceable(module.train, watched_train(module.train))
            _begin(_now())
        return answer

    module.eval = traceable(original_eval, eval)


def traceable(original: Any, ours: Any) -> Any:
    """Our wrapper of a method. A compiler goes by the file's name, and traces into it as far as `compiling()`."""
    ours.__code__ = ours.__code__.replace(co_filename=original.__code__.co_filename)
    return ours


def watched_train(original: Any) -> Any:
    """Module.train, which ends an evaluation. It calls itself for each submodule."""
    current, compiling = clock, _state.compiling

    @functools.wraps(original)
    def train(self: Any, mode: bool = True) -> Any:
        if not compiling() and mode and current.evaluating and get_ident() == current.thread:
            current.evaluating = False
            _pause(_now())
        return original(self, mode)

    return train


def is_plain_training() -> bool:
    """Whether a loop of the job's own trains in this thread; a Trainer tells of its evaluations itself."""
    return clock.running and clock.owner is None and get_ident() == clock.thread
