"""How training ends: an uncaught exception with its type, or the process's end. SIGKILL leaves no word.

"finished" is said only where it is known: train(), a rank's function or a notebook's cell returned. A process
that ends may have failed and dealt with it itself (`except Exception: sys.exit(3)`): its exit status is not to be
seen from within, so that it says "exit", and whoever sees the status judges.
"""

from __future__ import annotations

import atexit
import functools
import os
import sys
import time
from typing import Any

from . import models, session
from .clock import clock
from .notice import failed

_TOLD, _ENDED = "_paceline_told", "_paceline_ended"
"""Marks on an exception: that it is an event already, and that it ended training."""
_watching: list[bool] = []


def watch() -> None:
    """From now on this process is taken to train: tell how it ends. Called for each optimizer."""
    if not clock.running:
        models.optimizer_made()
    if _watching:
        return
    _watching.append(True)
    previous = sys.excepthook

    def excepthook(kind: Any, error: Any, trace: Any) -> None:
        raised(error)
        previous(kind, error, trace)

    sys.excepthook = excepthook
    atexit.register(_exit)
    _watch_notebook()


os.register_at_fork(after_in_child=_watching.clear)


def _watch_notebook() -> None:
    """In a notebook the process outlives training: each cell that trained is an end of its own."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None:
        return

    def post_run_cell(result: Any) -> None:
        error = getattr(result, "error_in_exec", None)
        if error is not None:
            raised(error)
        ended("finished")

    shell.events.register("post_run_cell", post_run_cell)


def raised(error: BaseException, step: float | None = None) -> None:
    """Record an exception that ends training, once however many of us it passes. Never raises."""
    try:
        if getattr(error, _ENDED, False):
            return
        setattr(error, _ENDED, True)
        kind = "oom" if out_of_memory(error) else "exception"
        number = float(clock.number) if step is None else step
        told = _told(error, kind)
        clock.leave(wait=False)
        if told:
            session.event(kind, number, **told)
        session.event("end", number, how=kind)
    except Exception as ours:  # telemetry must not hide why training stopped
        failed("recording an exception", ours)


def noticed(error: BaseException) -> None:
    """Record an allocation that failed where the job may catch it and go on: what was under way is no step.
    Never raises."""
    try:
        if out_of_memory(error):
            told = _told(error, "oom")
            if told:
                session.event("oom", float(clock.number), **told)
                clock.reset(time.monotonic())
    except Exception as ours:  # telemetry must not hide what training does about it
        failed("recording a failed allocation", ours)


def _told(error: BaseException, kind: str) -> dict[str, Any]:
    """What there is to tell of it; nothing the second time."""
    if getattr(error, _TOLD, False):
        return {}
    setattr(error, _TOLD, True)
    return {"type": type(error).__name__, "message": str(error), **(_size() if kind == "oom" else {})}


def ended(how: str) -> None:
    """Training that still runs ends here, in order as far as is seen. Never raises."""
    try:
        if clock.running and clock.count:
            clock.leave(wait=False)
            session.event("end", float(clock.number), how=how)
    except Exception as error:
        failed("recording the end", error)


def _exit() -> None:
    # Python keeps what it gave to an excepthook, also to one that replaced ours. At a prompt it may be old.
    error = getattr(sys, "last_value", None)
    if isinstance(error, BaseException) and not hasattr(sys, "ps1"):
        raised(error)
    ended("exit")


def _size() -> dict[str, Any]:
    """What did not fit; the rest of the configuration stands in the header."""
    done, batches = clock.micro, clock.batches or [(0, 0, 0.0)]
    samples, tokens, _ = batches[min(done, len(batches) - 1)]
    return {"samples": samples, "tokens": tokens, "micro_step": done + 1}


def out_of_memory(error: BaseException) -> bool:
    """CUDA's and the host's failed allocations, the latter a plain RuntimeError in torch."""
    cuda = getattr(sys.modules.get("torch"), "OutOfMemoryError", MemoryError)
    text = str(error)
    return isinstance(error, (MemoryError, cuda)) or "can't allocate memory" in text or "out of memory" in text


def patch_processes(module: Any) -> None:
    """Watch multiprocessing.process: what raises in a child process reaches no excepthook."""
    original = module.BaseProcess.run

    @functools.wraps(original)
    def run(self: Any) -> None:
        _watched(original, self)

    module.BaseProcess.run = run


def patch_spawn(module: Any) -> None:
    """Watch torch.multiprocessing.spawn, which catches what its functions raise."""
    original = module._wrap

    @functools.wraps(original)
    def _wrap(function: Any, *args: Any) -> Any:
        return original(functools.partial(_watched, function), *args)

    module._wrap = _wrap


def _watched(function: Any, *args: Any) -> None:
    try:
        function(*args)
    except SystemExit as error:
        ended("exit" if error.code else "finished")
        raise
    except BaseException as error:
        if _watching or clock.running:
            raised(error)
        raise
    ended("finished")
