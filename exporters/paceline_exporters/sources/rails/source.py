"""The rails source."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...metrics import Family, Samples
from ..board import Port
from ..contract import World
from .pci import ADDRESS, PATHS, Function, PciTree, closeness, read
from .roles import MANAGEMENT, Facts, carriers, default_routes, rate, roles

RAIL = Family(
    "paceline_rail_info",
    "A port that is closest to the GPU of those not for management; path as in nvidia-smi topo -m.",
    "info",
    "",
    ("uuid", "pci", "device", "port", "netdev", "path"),
)
NIC = Family(
    "paceline_nic_info",
    "Where a port of an RDMA device is and what it is for; role: compute, management or unknown (no label).",
    "info",
    "",
    ("device", "port", "netdev", "pci", "numa_node", "driver", "role"),
)
AFFINITY = Family(
    "paceline_gpu_affinity_info",
    "NUMA node and CPUs that the GPU is close to.",
    "info",
    "",
    ("uuid", "pci", "numa_node", "cpus"),
)
MOST_TIES = 8
"""Equally close ports that are listed per GPU: a node may have hundreds of virtual functions."""
_UUID = re.compile(r"^GPU UUID:\s*(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class PlacedGpu:
    """A GPU in the PCI tree."""

    uuid: str
    """Empty where neither NVML nor the driver's procfs tells."""
    function: Function


@dataclass(frozen=True)
class PlacedPort:
    """A port of an RDMA device in the PCI tree."""

    port: Port
    function: Function | None
    """None for software devices."""


class RailsSource:
    """GPUs and NICs as other sources found them, else as sysfs lists them; their places from sysfs."""

    name = "rails"
    period_seconds = 15.0
    deadline_seconds = 5.0
    families = (RAIL, NIC, AFFINITY)

    def __init__(self, world: World) -> None:
        self._world = world
        self._tree = PciTree(world.sysfs)
        self._infiniband = world.sysfs / "class/infiniband"
        self._rates: dict[tuple[str, str], float] = {}
        self._samples = Samples()

    def sample(self) -> Samples:
        """The same as before where nothing moved."""
        one_node = self._tree.one_node()
        gpus = list(self._gpus())
        ports = [PlacedPort(port, self._tree.function(port.pci) if port.pci else None) for port in self._ports()]
        found = roles(self._facts(ports, gpus, one_node))
        samples = Samples()
        for placed, role in zip(ports, found, strict=True):
            _add_port(samples, placed, role)
        rails = [placed for placed, role in zip(ports, found, strict=True) if role != MANAGEMENT]
        for gpu in gpus:
            _add_gpu(samples, gpu, rails, one_node)
        if samples.points != self._samples.points:
            self._samples = samples
        return self._samples

    def close(self) -> None:
        """Nothing is held."""

    def _gpus(self) -> Iterator[PlacedGpu]:
        listed = self._world.board.gpus
        if listed is not None:
            known = [(gpu.uuid, gpu.pci) for gpu in listed if not gpu.parent]
        else:
            known = [(self._uuid(address), address) for address in self._tree.gpus()]
        for uuid, address in known:
            function = self._tree.function(address)
            if function is not None:
                yield PlacedGpu(uuid, function)

    def _uuid(self, address: str) -> str:
        found = _UUID.search(read(self._world.procfs / "driver/nvidia/gpus" / address / "information"))
        return found[1] if found else ""

    def _ports(self) -> Iterable[Port]:
        ports = self._world.board.ports
        return ports if ports is not None else list(self._listed())

    def _listed(self) -> Iterator[Port]:
        for path in sorted(self._infiniband.glob("*/ports/*")):
            device = path.parent.parent
            # `realpath` takes a link that leads to itself as it is.
            address = Path(os.path.realpath(device / "device")).name
            netdevs = tuple(sorted(net.name for net in device.glob("device/net/*")))
            pci = address if ADDRESS.match(address) else ""
            yield Port(device.name, path.name, pci, netdevs, read(path / "link_layer"))

    def _facts(self, ports: list[PlacedPort], gpus: list[PlacedGpu], one_node: bool) -> Iterator[Facts]:
        routed = default_routes(self._world.procfs)
        net = self._world.sysfs / "class/net"
        for placed in ports:
            names = set[str]().union(*(carriers(netdev, net) for netdev in placed.port.netdevs))
            yield Facts(
                path=min(_paths(placed, gpus, one_node), key=PATHS.index, default=""),
                rate=self._rate(placed.port),
                default_route=not names.isdisjoint(routed) and not _carries_no_ip(placed),
            )

    def _rate(self, port: Port) -> float | None:
        now = rate(self._infiniband / port.device / "ports" / port.port)
        key = (port.device, port.port)
        if now is not None:
            self._rates[key] = max(now, self._rates.get(key, 0.0))
        return self._rates.get(key)


def _carries_no_ip(placed: PlacedPort) -> bool:
    """An EFA's network device is another function's, of the same card: IP goes past the EFA itself."""
    return placed.function is not None and placed.function.driver == "efa"


def _paths(placed: PlacedPort, gpus: list[PlacedGpu], one_node: bool) -> Iterator[str]:
    if placed.function is not None:
        for gpu in gpus:
            yield closeness(placed.function, gpu.function, one_node)


def _add_port(samples: Samples, placed: PlacedPort, role: str) -> None:
    port, function = placed.port, placed.function
    for netdev in port.netdevs or ("",):
        samples.add(
            NIC,
            1,
            port.device,
            port.port,
            netdev,
            port.pci,
            _node(function),
            function.driver if function is not None else "",
            role,
        )


def _add_gpu(samples: Samples, gpu: PlacedGpu, rails: list[PlacedPort], one_node: bool) -> None:
    address = gpu.function.address
    samples.add(AFFINITY, 1, gpu.uuid, address, _node(gpu.function), gpu.function.cpus)
    paths = [
        (closeness(gpu.function, placed.function, one_node), placed.port)
        for placed in rails
        if placed.function is not None
    ]
    closest = min((path for path, _ in paths), key=PATHS.index, default="")
    for port in [port for path, port in paths if path == closest][:MOST_TIES]:
        netdev = port.netdevs[0] if port.netdevs else ""
        samples.add(RAIL, 1, gpu.uuid, address, port.device, port.port, netdev, closest)


def _node(function: Function | None) -> str:
    return "" if function is None or function.numa_node is None else str(function.numa_node)
