"""DistributedDataParallel: the proposal's keywords go into its constructor, whoever calls it, and come back."""

from __future__ import annotations

import functools
import inspect
import os
import weakref
from typing import Any

from . import proposal, session
from .agreement import agree
from .notice import failed, say
from .stop import Rejected

constructed: list[dict[str, Any]] = []
"""Keywords of each DistributedDataParallel made in this process, as constructed."""

SAMPLE_VARIABLE = "PACELINE_DDP_SAMPLE_EVERY"
"""Environment variable: torch takes DDP's times in 1 of so many passes instead of 1 of 100. On CUDA each of them
costs a wait at the next forward pass."""

_models: list[Any] = []
_watched: list[Any] = []
"""Weak reference to the model whose last gradient is watched."""

_READ_BACK = (
    "bucket_cap_mb",
    "find_unused_parameters",
    "static_graph",
    "gradient_as_bucket_view",
    "broadcast_buffers",
)
_ATTRIBUTES = {name: name for name in _READ_BACK[1:]}


def patch(module: Any) -> None:
    """Wrap DistributedDataParallel's constructor."""
    cls = module.DistributedDataParallel
    original = cls.__init__
    signature = inspect.signature(original)

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **keywords: Any) -> None:
        try:
            bound = _bound(signature, self, args, keywords)
        except Rejected as rejected:
            raise session.reject(rejected) from None
        original(*bound.args, **bound.kwargs)
        session.recorder()  # whoever wraps a model so is going to train
        try:
            _read_back(self, bound)
        except Rejected as rejected:
            raise session.reject(rejected) from None
        except Exception as error:  # telemetry must not stop training
            failed("reading DDP's configuration back", error)

    cls.__init__ = __init__


def _bound(signature: inspect.Signature, model: Any, args: Any, keywords: Any) -> inspect.BoundArguments:
    proposed = proposal.section("ddp")
    for name in [*proposed, *proposal.section("expects").get("ddp", ())]:
        if name not in signature.parameters:
            raise Rejected("unknown_name", f"this torch's DistributedDataParallel has no keyword {name!r}")
    bound = signature.bind(model, *args, **keywords)
    for name, value in proposed.items():
        # null is torch's own *unset*, which is not None for every keyword
        bound.arguments[name] = signature.parameters[name].default if value is None else value
    return bound


def _read_back(model: Any, bound: inspect.BoundArguments) -> None:
    _models[:] = [weakref.ref(model)]
    every = sample_every()
    if every:
        model._set_ddp_runtime_logging_sample_rate(every)
    bound.apply_defaults()
    keywords = {name: bound.arguments[name] for name in _READ_BACK if name in bound.arguments}
    constructed.append(keywords)
    for name, proposed in proposal.section("ddp").items():
        value = bound.arguments[name]
        attribute = None if proposed is None else _ATTRIBUTES.get(name)  # *unset* becomes what torch decides
        actual = getattr(model, attribute, value) if attribute else keywords.get(name, value)
        if actual != value:
            raise Rejected("not_effective", f"DDP's {name}={value!r} did not take effect: it has {actual!r}")
    agree(
        f"{session.attempt()}/ddp/{len(constructed)}",
        keywords,
        session.rank(),
        session.world_size(),
        binding=proposal.given(),
    )


def watch_last_gradient(model: Any, must: bool) -> None:
    """Time the gradient that comes last, by the order in which this model's came, once torch has told it.

    Only the model knows: one whose head was registered before its backbone has its first parameter's gradient
    first. Where a torch does not tell the order at all and it `must` be now, the first parameter is taken.
    """
    from .clock import clock

    if _watched and _watched[0]() is model:
        return
    order = model._get_ddp_logging_data().get("prev_iteration_grad_ready_order_indices")
    ignored = getattr(model, "parameters_to_ignore", ())
    reduced = [p for name, p in model.module.named_parameters() if p.requires_grad and name not in ignored]
    if (not order and not must) or not hasattr(reduced[0], "register_post_accumulate_grad_hook"):  # torch 2.1
        return
    last = int(order.rpartition(",")[2]) if order else 0
    reduced[last].register_post_accumulate_grad_hook(clock.last_gradient)
    _watched[:] = [weakref.ref(model)]


def latest() -> Any:
    """The model that DistributedDataParallel wrapped last; None without one."""
    return _models[0]() if _models else None


@functools.lru_cache(maxsize=1)
def sample_every() -> int:
    """Passes between two of which torch takes the times, 0 for its own choice."""
    text = os.environ.get(SAMPLE_VARIABLE, "")
    if text and not (text.isdigit() and int(text) > 0):
        say(f"{SAMPLE_VARIABLE}={text!r} is not a number of passes; torch's own rate stays")
        return 0
    return int(text or 0)


def buckets(model: Any) -> dict[str, Any]:
    """Bucket layout as torch built it, once gradients have flowed; sizes in bytes."""
    data = model._get_ddp_logging_data()
    names = ("bucket_cap_bytes", "bucket_sizes", "rebuilt_bucket_sizes", "has_rebuilt_buckets", "static_graph")
    return {name: data[name] for name in names if name in data}


def sampled_times(model: Any) -> tuple[int, float, float, float]:
    """The last sampled iteration (0: none yet), and its seconds of backward compute, communication, exposed."""
    data = model._get_ddp_logging_data()
    compute = data.get("backward_compute_time", 0) / 1e9
    communication = data.get("backward_comm_time", 0) / 1e9
    overlap = data.get("backward_compute_comm_overlap_time", 0) / 1e9
    return data.get("iteration", 0), compute, communication, communication - overlap
