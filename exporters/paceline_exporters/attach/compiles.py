"""torch.compile at work: its seconds, so that a step that compiles is not taken for a slow one.

And our hooks stay out of what it compiles: they are eager code between frames that it is asked to trace, and
where a frame calls a wrapper of ours the compiler traces what that wraps: `fullgraph` finds no break of ours.
"""

from __future__ import annotations

import time
from typing import Any

from . import models
from .clock import clock
from .notice import failed

_now = time.monotonic
_began = [0.0]
_wrappers: list[tuple[Any, Any]] = []
"""What is wrapped, and our wrapper."""
_substitute: list[Any] = []
"""torch._dynamo's substitute_in_graph, once it is there; torch 2.5 has it."""


def patch(module: Any) -> None:
    """Watch torch._dynamo. A version that has no such callbacks tells nothing of its compiling."""
    module.trace_rules.add(__package__)
    _substitute[:] = [getattr(module, "substitute_in_graph", None)]
    for original, ours in _wrappers:
        _trace(original, ours)
    handler = module.callback.callback_handler
    _register(handler)
    clear = handler.clear

    def cleared() -> None:
        clear()
        _register(handler)

    handler.clear = cleared  # torch.compiler.reset() takes all callbacks away, also those of others


def traced_as(original: Any, ours: Any) -> Any:
    """Our wrapper of a function, for which the compiler is to trace the original."""
    _wrappers.append((original, ours))
    if _substitute:
        _trace(original, ours)
    return ours


def _trace(original: Any, ours: Any) -> None:
    if _substitute[0] is None:
        return
    try:
        _substitute[0](ours, skip_signature_check=True)(original)
    except Exception as error:  # then there is a break in the graph
        failed("telling the compiler what a wrapper wraps", error)


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
