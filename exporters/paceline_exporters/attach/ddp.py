"""DistributedDataParallel: the proposal's keywords go into its constructor, whoever calls it, and come back."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from . import proposal, session
from .agreement import agree
from .notice import failed
from .stop import Rejected

constructed: list[dict[str, Any]] = []
"""Keywords of each DistributedDataParallel made in this process, as constructed."""

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
