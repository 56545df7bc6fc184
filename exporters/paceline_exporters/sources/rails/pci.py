"""The PCI tree as sysfs shows it, and how close two functions are in it, in the words of `nvidia-smi topo -m`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\Z")
_HOST_BRIDGE = re.compile(r"pci[0-9a-f]{4,8}:[0-9a-f]{2}\Z")
NVIDIA = "0x10de"
DISPLAY_CLASSES = ("0x0300", "0x0302")
"""VGA and 3D controllers, without the programming interface."""
PATHS = ("PIX", "PXB", "PHB", "NODE", "SYS")
"""Closest first: at most one PCIe switch lies between; several switches; a host bridge; host bridges of one NUMA
node; the link between NUMA nodes."""


@dataclass(frozen=True)
class Function:
    """A PCI function: a GPU, or a port of a NIC."""

    address: str
    route: tuple[str, ...]
    """From the host bridge down to the function itself."""
    numa_node: int | None
    """None where the firmware does not say."""
    cpus: str
    """CPUs close to it, as a list of ranges; empty where unknown."""
    driver: str


class PciTree:
    """Functions by address, read anew each time: they come and go."""

    def __init__(self, sysfs: Path) -> None:
        self._devices = sysfs / "bus/pci/devices"
        self._nodes = sysfs / "devices/system/node"

    def function(self, address: str) -> Function | None:
        """None for what is not there."""
        path = self._devices / address
        route = _target(path)
        start = next((at for at, part in enumerate(route) if _HOST_BRIDGE.match(part)), None)
        if start is None:
            return None
        node = read(path / "numa_node")
        return Function(
            address=address,
            route=route[start:],
            numa_node=int(node) if node.isdecimal() else None,
            cpus=read(path / "local_cpulist"),
            driver=_target(path / "driver")[-1],
        )

    def gpus(self) -> Iterator[str]:
        """Addresses of NVIDIA's GPUs, in order, whatever driver has them."""
        for path in sorted(self._devices.glob("*")):
            if read(path / "vendor") == NVIDIA and read(path / "class").startswith(DISPLAY_CLASSES):
                yield path.name

    def one_node(self) -> bool:
        """Whether all of the machine is one NUMA node; its firmware then often leaves out which."""
        return sum(1 for _ in self._nodes.glob("node[0-9]*")) <= 1


def closeness(one: Function, other: Function, one_node: bool = False) -> str:
    """One of PATHS. `one_node`: the machine has a single NUMA node."""
    shared = next(
        (at for at, parts in enumerate(zip(one.route, other.route, strict=False)) if parts[0] != parts[1]),
        min(len(one.route), len(other.route)),
    )
    if shared > 1:
        # Below the bridge they share, each may have one more: its own port of the same switch.
        bridges = max(len(one.route), len(other.route)) - shared - 1
        return "PIX" if bridges <= 1 else "PXB"
    if shared == 1:
        return "PHB"
    known = one.numa_node is not None and other.numa_node is not None
    return "NODE" if (one.numa_node == other.numa_node if known else one_node) else "SYS"


def read(path: Path) -> str:
    """An attribute, empty where there is none or its driver will not say."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _target(path: Path) -> tuple[str, ...]:
    """What a link of sysfs leads to: its text names the whole way. A lone empty part where there is no link."""
    try:
        return path.readlink().parts
    except OSError:
        return ("",)
