"""What a NIC is there for, told from facts only.

Fast and slow are told by the highest rate a port ever showed: a port that is down shows the lowest there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .pci import read

COMPUTE, MANAGEMENT, UNKNOWN = "compute", "management", ""
SWITCHED = frozenset({"PIX", "PXB"})
SLOW_RATIO = 0.5
"""Of the fastest port's rate: below it, a port is no rail."""
_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) Gb/sec")
_ANYWHERE = "00000000"


@dataclass(frozen=True)
class Facts:
    """About one port of a NIC."""

    path: str
    """To the GPU closest to it; empty where there is no GPU, or the NIC is no PCI function."""
    rate: float | None
    """The highest seen, in Gb/s."""
    default_route: bool
    """Whether the node's default route leaves through it."""


def roles(facts: Iterable[Facts]) -> list[str]:
    """A role for each.

    Management: it has less than half the rate of the fastest; or it carries the default route and shares no PCIe
    switch with a GPU where others do. Compute: it shares a PCIe switch with a GPU; or no NIC does (a virtual
    machine, a workstation) and it carries no default route. Everything else is unknown: a fast NIC without a GPU
    beside it may be for storage, or for whatever the site wired it to.
    """
    known = list(facts)
    fastest = max((fact.rate for fact in known if fact.rate is not None), default=0.0)
    switched = any(fact.path in SWITCHED for fact in known)
    return [_role(fact, fastest, switched) for fact in known]


def _role(fact: Facts, fastest: float, switched: bool) -> str:
    if fact.rate is not None and fact.rate < SLOW_RATIO * fastest:
        return MANAGEMENT
    if fact.path in SWITCHED:
        return COMPUTE
    if switched:
        return MANAGEMENT if fact.default_route else UNKNOWN
    return COMPUTE if fact.path and not fact.default_route else UNKNOWN


def rate(port: Path) -> float | None:
    """Of a port in sysfs, in Gb/s; None while it is not active, and where it makes no sense."""
    found = _RATE.match(read(port / "rate"))
    return float(found[1]) if found and read(port / "state").startswith("4:") else None


def default_routes(procfs: Path) -> set[str]:
    """Network devices that default routes of the host leave through (net/route, net/ipv6_route); of the reader's
    network namespace where process 1 is hidden."""
    # The first always has a line, of headings.
    net = procfs / ("1/net" if read(procfs / "1/net/route") else "net")
    return {*_of_ipv4(read(net / "route")), *_of_ipv6(read(net / "ipv6_route"))}


def carriers(netdev: str, net: Path) -> set[str]:
    """The device and all that is stacked on it: bonds, bridges, VLANs. `net` is sysfs's class/net."""
    found, pending = set[str](), [netdev]
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += [path.name.removeprefix("upper_") for path in (net / name).glob("upper_*")]
    return found


def _of_ipv4(text: str) -> Iterator[str]:
    for line in text.splitlines():
        fields = line.split()
        if len(fields) > 7 and fields[1] == fields[7] == _ANYWHERE:
            yield fields[0]


def _of_ipv6(text: str) -> Iterator[str]:
    """The kernel lists its own rejecting default on `lo`; only one with a gateway is meant here."""
    for line in text.splitlines():
        fields = line.split()
        if len(fields) > 9 and fields[1] == "00" and set(fields[0]) == {"0"} and set(fields[4]) != {"0"}:
            yield fields[9]
