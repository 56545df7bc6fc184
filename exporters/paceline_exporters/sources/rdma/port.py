"""One port's state: logical, physical, rate, and whether its network device has a carrier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...metrics import Family, Samples, Value
from . import compat
from .counters import PORT
from .tree import Attribute, Descriptors, Failed, text
from .values import lifespan_seconds, physical_state_id, rate_bytes_per_second, state_id

ACTIVE, LINK_UP = 4, 5
CARRIER = (b"up", b"unknown")
"""Operational states of a network device that carries traffic; some drivers never say more than the second."""
UNKNOWN = "Unknown"

PORT_INFO = Family(
    "paceline_rdma_port_info",
    "The port: its link layer, and the first network device on it.",
    "info",
    "",
    (*PORT, "link_layer", "netdev"),
)
STATE = Family(
    "paceline_rdma_port_state_id",
    "Logical state: 1 down, 2 initialised, 3 armed, 4 active, 5 active deferred.",
    "gauge",
    "",
    PORT,
)
PHYSICAL_STATE = Family(
    "paceline_rdma_port_physical_state_id",
    "Physical state: 1 sleep, 2 polling, 3 disabled, 4 training, 5 link up, 6 error recovery, 7 test.",
    "gauge",
    "",
    PORT,
)
LINK = Family(
    "paceline_rdma_port_active",
    "1 if the port is active, its link is up, and unless on InfiniBand its network device has a carrier; else 0.",
    "gauge",
    "",
    PORT,
)
RATE = Family("paceline_rdma_port_rate_bytes_per_second", "Rate of the link as it is now.", "gauge", "", PORT)
FAMILIES = (PORT_INFO, STATE, PHYSICAL_STATE, LINK, RATE)
Parse = Callable[[bytes], float | None]


class PortFiles:
    """The attributes of one port, kept open."""

    def __init__(self, device: Path, port: str, descriptors: Descriptors, serve_compat: bool) -> None:
        """`device` is /sys/class/infiniband/NAME."""
        self.netdevs: tuple[str, ...] = ()
        self.link_layer = ""
        """`InfiniBand`, `Ethernet`, or empty where unknown."""
        self._labels = (device.name, port)
        self._path = device / "ports" / port
        self._net = device.parents[1] / "net"
        self._descriptors = descriptors
        self._operstate: Attribute | None = None
        self._netdev = ""
        # file, its parser, the family, the same of node_exporter
        rows: list[tuple[str, Parse, Family | None, Family]] = [
            ("state", state_id, STATE, compat.STATE),
            ("phys_state", physical_state_id, PHYSICAL_STATE, compat.PHYSICAL_STATE),
            ("rate", rate_bytes_per_second, RATE, compat.RATE),
        ]
        if serve_compat and (self._path / "hw_counters/lifespan").exists():
            rows.append(("hw_counters/lifespan", lifespan_seconds, None, compat.LIFESPAN))
        self._rows = [
            (
                Attribute(f"{self._path}/{file}", descriptors),
                parse,
                tuple(family for family in (own, other if serve_compat else None) if family is not None),
            )
            for file, parse, own, other in rows
        ]

    def identify(self, netdevs: tuple[str, ...], failed: Failed) -> None:
        """Look up what seldom changes. `netdevs` are those of the device's function."""
        layer = text(self._path / "link_layer", failed)
        self.link_layer = "" if layer == UNKNOWN else layer
        own = [name for name in netdevs if self._is_of_port(name, failed)] or list(netdevs)
        first = self._first_gid_netdev() or next(iter(own), "")
        self.netdevs = tuple(sorted(own, key=lambda name: (name != first, name)))
        if first != self._netdev:
            self._netdev = first
            if self._operstate is not None:
                self._operstate.close()
            self._operstate = Attribute(f"{self._net}/{first}/operstate", self._descriptors) if first else None

    def add(self, samples: Samples, failed: Failed) -> None:
        """One reading; what fails is told and absent."""
        for attribute, parse, families in self._rows:
            try:
                value = parse(attribute.read())
            except (OSError, ValueError) as error:
                failed(error)
                continue
            for family in families:
                samples.add(family, value, *self._labels)
        samples.add(PORT_INFO, 1, *self._labels, self.link_layer, self._netdev)
        samples.add(LINK, self._link(samples, failed), *self._labels)

    def close(self) -> None:
        """Let all files go."""
        for attribute, _, _ in self._rows:
            attribute.close()
        if self._operstate is not None:
            self._operstate.close()

    def _link(self, samples: Samples, failed: Failed) -> Value:
        state = samples.points[STATE].get(self._labels)
        physical = samples.points[PHYSICAL_STATE].get(self._labels)
        if state is None or physical is None:
            return None
        return int(state == ACTIVE and physical == LINK_UP and self._has_carrier(failed))

    def _has_carrier(self, failed: Failed) -> bool:
        """On InfiniBand the network device is IPoIB, which says nothing of the port. EFA always calls itself
        active: the network device of its card is the only witness, where it is known."""
        if self._operstate is None or self.link_layer == "InfiniBand":
            return True
        try:
            return self._operstate.read().strip() in CARRIER
        except OSError as error:
            failed(error)
            return True

    def _is_of_port(self, netdev: str, failed: Failed) -> bool:
        """Devices with several ports (mlx4) have a network device for each, numbered from 0."""
        number = text(self._net / netdev / "dev_port", failed)
        return not number or number == str(int(self._labels[1]) - 1)

    def _first_gid_netdev(self) -> str:
        # EINVAL says that the first GID is not in use: no fault.
        return text(self._path / "gid_attrs/ndevs/0", lambda error: None)
