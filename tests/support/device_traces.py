"""What torch's profiler saw of a device, from the trace that it exports for Chrome, and what NCCL's log says."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

Event = dict[str, Any]
WORK = ("kernel", "gpu_memcpy", "gpu_memset")
CALLS = ("cuda_runtime", "cuda_driver")
WAITS = frozenset(
    (
        *("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy"),
        *("cuStreamSynchronize", "cuCtxSynchronize", "cuEventSynchronize"),
    )
)
"""Calls in which the host waits for the device."""
PAGEABLE = "copy of pageable memory"
"""Asynchronous by name; the host waits for it all the same."""
_TAKEN = re.compile(r"NCCL INFO (NCCL_\w+) set by environment to (.*?)\.?$", re.MULTILINE)


def read(path: Path) -> list[Event]:
    """The events of an exported trace that last; times are microseconds."""
    events: list[Event] = json.loads(path.read_text())["traceEvents"]
    return [event for event in events if event.get("ph") == "X"]


def device_seconds(events: Sequence[Event], name: str) -> list[float]:
    """For each `record_function(name)` what its work took on the device, from its first kernel to its last.

    Work belongs to whoever launched it, from whatever thread: backward's comes from autograd's.
    """
    launched = {_correlation(event): event["ts"] for event in events if event.get("cat") in CALLS}
    work = [event for event in events if event.get("cat") in WORK]
    found = []
    for began, ended in _annotated(events, name):
        own = [event for event in work if began <= launched.get(_correlation(event), -1.0) <= ended]
        last = max((event["ts"] + event["dur"] for event in own), default=0.0)
        found.append((last - min((event["ts"] for event in own), default=0.0)) / 1e6)
    return found


def calls(events: Sequence[Event], name: str) -> Counter[str]:
    """Calls of CUDA's runtime and driver while `record_function(name)` lasted, and copies of pageable memory."""
    counted: Counter[str] = Counter()
    for began, ended in _annotated(events, name):
        made = [event for event in events if event.get("cat") in CALLS and began <= event["ts"] <= ended]
        counted.update(event["name"] for event in made)
        ours = {_correlation(event) for event in made}
        copies = (event for event in events if event.get("cat") == "gpu_memcpy" and "Pageable" in event["name"])
        counted[PAGEABLE] += sum(_correlation(event) in ours for event in copies)
    return counted


def waits(counted: Counter[str]) -> dict[str, int]:
    """Of counted calls those in which the host waits."""
    return {name: number for name, number in counted.items() if number and (name in WAITS or name == PAGEABLE)}


def taken_by_nccl(log: str) -> dict[str, str]:
    """Environment variables that NCCL says it took, with their values as it read them."""
    return {found[1]: found[2] for found in _TAKEN.finditer(log)}


def _annotated(events: Sequence[Event], name: str) -> Iterator[tuple[float, float]]:
    own = (event for event in events if event.get("cat") == "user_annotation" and event["name"] == name)
    return iter(sorted((event["ts"], event["ts"] + event["dur"]) for event in own))


def _correlation(event: Event) -> Any:
    return event.get("args", {}).get("correlation")
