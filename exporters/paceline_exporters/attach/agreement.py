"""Do all ranks run the same configuration? Asked through the default store, before it can cost anything.

Ranks with different bucket sizes or NCCL settings do not fail: they hang, or train on garbage.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from typing import Any

from .notice import say
from .stop import Rejected

TIMEOUT = timedelta(seconds=600)
"""How long a rank waits for another's word; ranks may come late from preparing data."""


def initialized() -> Any:
    """torch.distributed; None while there is no process group (or torch)."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed


def default_store() -> Any:
    """The process group's default store; None without one."""
    if initialized() is None:
        return None
    return sys.modules["torch.distributed.distributed_c10d"]._get_default_store()


def agree(check: str, configuration: dict[str, Any], rank: int, world_size: int, binding: bool) -> None:
    """Publish this rank's `configuration` and compare it; raises Rejected that names the first difference.

    Rank 0 compares with everyone, the others with rank 0. `binding` is False for a rank without a proposal:
    it only publishes, and never waits.
    """
    store = default_store()
    if store is None or world_size < 2:
        return
    prefix = f"paceline/{check}/"
    store.set(prefix + str(rank), json.dumps(configuration, sort_keys=True))
    if not binding:
        return
    for other in range(1, world_size) if rank == 0 else (0,):
        theirs = _ask(store, prefix + str(other), other)
        if theirs is not None and theirs != configuration:
            raise Rejected("ranks_differ", _difference(configuration, theirs, rank, other))


def _ask(store: Any, key: str, other: int) -> dict[str, Any] | None:
    try:
        store.wait([key], TIMEOUT)
    except RuntimeError as error:  # DistStoreError: late or not attached; the job's own timeouts decide
        say(f"rank {other} did not say what it runs; its configuration was not compared ({error})")
        return None
    answer: dict[str, Any] = json.loads(store.get(key))
    return answer


def _difference(ours: dict[str, Any], theirs: dict[str, Any], rank: int, other: int) -> str:
    for name in sorted({*ours, *theirs}):
        mine, other_value = ours.get(name, "not set"), theirs.get(name, "not set")
        if mine != other_value:
            return (
                f"ranks differ in {name}: {mine!r} on rank {rank}, {other_value!r} on rank {other}; "
                "give every node the same proposal and the same code"
            )
    raise AssertionError("called only where the configurations differ")
