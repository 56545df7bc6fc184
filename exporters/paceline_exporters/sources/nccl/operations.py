"""One line of Inspector's JSON output, versions 4.0 to 4.3 (plugins/profiler/inspector/inspector_json.cc).

A line is an operation (`coll_perf`, `p2p_perf`), the counts of a dump (`dump_stats`), or a trace of its proxies.
Up to 4.2 each line repeats the communicator's header; from 4.3 on only `dump_stats` has it. Nothing of it is
needed: the file is its process's own.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from typing import Any, NamedTuple

COLLECTIVES = frozenset(
    {"AllReduce", "AllGather", "AllGatherV", "ReduceScatter", "Broadcast", "Reduce", "All2All"}
    | {"Send", "Recv", "SendRecv"}
)
OTHER = "other"
SIZES = ("64KiB", "1MiB", "16MiB", "larger")
_SIZE_BOUNDS = (2**16, 2**20, 2**24)
_LONGEST_SECONDS = 86400.0
_LARGEST_BYTES = 2.0**53
_FASTEST = 1e15  # bytes/s
_decode = json.JSONDecoder().raw_decode
"""Half the time of json.loads: it looks for no encoding, and for nothing around the object."""


class Unreadable(Exception):
    """No line of Inspector's."""


class Operation(NamedTuple):
    """A collective, or a send or receive, that has ended on this rank."""

    collective: str
    """One of COLLECTIVES, or OTHER."""
    size: str
    """One of SIZES: the least that its message fits."""
    seconds: float
    """Of its kernel on the GPU, unless the job asked for less."""
    bytes: float
    """The rank's own message, as NCCL counts it: for AllGather and ReduceScatter one rank's part."""
    bus_bandwidth: float | None
    """Bytes per second, as nccl-tests defines it (doc/PERFORMANCE.md); None where Inspector knows none."""


def parse(line: bytes) -> Operation | int:
    """The operation, else how many Inspector's ring lost before it wrote this line. Raises Unreadable."""
    try:
        record, _ = _decode(line.decode(errors="replace"))
    except (ValueError, RecursionError) as error:
        raise Unreadable(str(error)) from None
    if not isinstance(record, dict):
        raise Unreadable("not an object")
    for kind in ("coll", "p2p"):
        body = record.get(f"{kind}_perf")
        if isinstance(body, dict):
            return _operation(body, kind)
    stats = record.get("dump_stats")
    return _lost(stats) if isinstance(stats, dict) else 0


def _operation(body: dict[str, Any], kind: str) -> Operation:
    microseconds = _number(body, f"{kind}_exec_time_us", _LONGEST_SECONDS * 1e6)
    size = _number(body, f"{kind}_msg_size_bytes", _LARGEST_BYTES)
    if microseconds is None or size is None:
        raise Unreadable(f"{kind}_perf without time or size")
    name, bandwidth = body.get(kind), _number(body, f"{kind}_busbw_gbs", _FASTEST / 1e9)
    return Operation(
        collective=name if isinstance(name, str) and name in COLLECTIVES else OTHER,
        size=SIZES[bisect_left(_SIZE_BOUNDS, size)],
        seconds=microseconds / 1e6,
        bytes=size,
        bus_bandwidth=None if bandwidth is None else bandwidth * 1e9,
    )


def _lost(stats: dict[str, Any]) -> int:
    counts = (_number(stats, f"{kind}_dropped_since_last_dump", _LARGEST_BYTES) for kind in ("coll", "p2p"))
    return sum(int(count) for count in counts if count is not None)


def _number(body: dict[str, Any], key: str, most: float) -> float | None:
    """Inspector writes NaN as text."""
    value = body.get(key)
    known = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most
    return float(value) if known and value is not None else None
