"""The list syntax of NCCL_ALGO and NCCL_PROTO: `function:name,name;function:^name`, `^` for all but."""

from __future__ import annotations

from typing import Any, NamedTuple

from .legal import Legal

ALGORITHMS = {
    "allreduce": {"ring", "tree", "collnetdirect", "collnetchain", "nvls", "nvlstree"},
    "allgather": {"ring", "collnetdirect", "nvls", "pat"},
    "reducescatter": {"ring", "collnetdirect", "nvls", "pat"},
    "broadcast": {"ring"},
    "reduce": {"ring"},
}
"""Which algorithms NCCL has for which function (NCCL 2.30.7, src/graph/tuning.cc)."""
PROTOCOLS = {"ll", "ll128", "simple"}


class Entry(NamedTuple):
    """One entry of the list."""

    function: str
    """Empty: all functions that no other entry names."""
    inverted: bool
    names: frozenset[str]


def parse(value: str) -> list[Entry]:
    """The entries, in lower case; NCCL takes no spaces, and neither does this."""
    return [_entry(part) for part in value.lower().split(";")]


def _entry(part: str) -> Entry:
    function, _, listed = part.rpartition(":")
    return Entry(function, listed.startswith("^"), frozenset(listed.removeprefix("^").split(",")))


def _algorithm(value: Any) -> bool:
    return isinstance(value, str) and all(map(_usable, parse(value)))


def _usable(entry: Entry) -> bool:
    """The function is named, knows each name, and has an algorithm left."""
    known = ALGORITHMS.get(entry.function, set())
    left = known - entry.names if entry.inverted else known & entry.names
    return bool(left) and entry.names <= set().union(*ALGORITHMS.values())


def _exclusion(value: Any) -> bool:
    return isinstance(value, str) and all(
        entry.inverted and entry.function in ("", *ALGORITHMS) and entry.names < PROTOCOLS
        for entry in parse(value)
    )


ALGO = Legal(
    "algorithms scoped to a function that has them, such as `allreduce:ring` or `allreduce:^tree` "
    "(unscoped, NCCL 2.24 and newer fail at the first collective that lacks the algorithm)",
    _algorithm,
)
PROTO = Legal(
    "exclusions only, such as `^LL128` or `allreduce:^LL` "
    "(forcing LL128 where the platform lacks it corrupts data)",
    _exclusion,
)
