"""torch.compile at work: its seconds, so that a step that compiles is not taken for a slow one.

And our hooks stay out of what it compiles: they are eager code between frames that it is asked to trace.
"""

from __future__ import annotations

import time
from typing import Any

from . import models
from .clock import clock

_now = time.monotonic
_began = [0.0]


def patch(module: Any) -> None:
    """Watch torch._dynamo. A version that has no such callbacks tells nothing of its compiling."""
    module.trace_rules.add(__package__)
    handler = module.callback.callback_handler
    _register(handler)
    clear = handler.clear

    def cleared() -> None:
        clear()
        _register(handler)

    handler.clear = cleared  # torch.compiler.reset() takes all callbacks away, also those of others


def _register(handler: Any) -> None:
    handler.register_start_callback(_started)
    handler.register_end_callback(_ended)


def _started(*_: Any) -> None:
    models.leave()
    _began[0] = _now()


def _ended(*_: Any) -> None:
    # Also from the thread that compiles a backward pass while the training thread waits for it.
    if _began[0]:
        clock.compiling += _now() - _began[0]
        _began[0] = 0.0
