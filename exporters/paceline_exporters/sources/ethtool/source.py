"""The ethtool source."""

from __future__ import annotations

import errno
import math
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from ...kept import Kept
from ...metrics import Family, Samples
from ..contract import World
from ..extend import SAVE_SECONDS, Memory, boot_name
from .ioctl import StatisticsSocket, split
from .naming import FAMILIES, Reading, known, readings

RAW = Family(
    "paceline_nic_ethtool_stat",
    "A statistic asked for by name, as the driver counts it: see its documentation for kind and unit.",
    "gauge",
    "",
    ("netdev", "name"),
)
ERRORS = Family(
    "paceline_nic_ethtool_errors_total",
    "Requests for a device's statistics that failed, by errno.",
    "counter",
    "",
    ("netdev", "errno"),
)
RESETS = Family(
    "paceline_nic_ethtool_resets_total",
    "Times that statistics of the device began anew, as by a reload of its driver. The counters served here go "
    "on over it.",
    "counter",
    "",
    ("netdev",),
)
ABSENT = frozenset({errno.ENODEV, errno.EOPNOTSUPP})
"""Not in this network namespace (a pod without hostNetwork sees none of the node's), or without statistics."""
MOST_GONE = 64
"""Devices that are gone and still remembered, the latest: a virtual function may return."""


@dataclass(frozen=True)
class Listing:
    """What of a device's statistics is served; good for as long as its names stay the same."""

    names: bytes
    readings: list[Reading]
    raw: list[tuple[int, str]]
    """Position and name of those asked for."""


class EthtoolSource:
    """The statistics of network devices that belong to an RDMA device."""

    name = "ethtool"
    period_seconds = 5.0
    deadline_seconds = 2.5
    families = (*FAMILIES, RAW, ERRORS, RESETS)

    def __init__(self, world: World, include: re.Pattern[str] | None = None) -> None:
        """`include`: names, beyond those known here, to serve as they are where the pattern is found in them."""
        self._board = world.board
        self._sysfs = world.sysfs
        self._boot = boot_name(world.procfs)
        self._include = include
        self._socket: StatisticsSocket | None = None
        self._listings: dict[str, Listing] = {}
        self._errors: Counter[tuple[str, str]] = Counter()
        self._kept = Kept(world.state, "ethtool")
        saved = self._kept.load().get("devices")
        self._memories = {name: Memory(found) for name, found in saved.items()} if isinstance(saved, dict) else {}
        """By device, the latest seen last."""
        self._saved_at = -math.inf

    def sample(self) -> Samples:
        """A device that fails costs itself only; that all fail is the sample's problem."""
        samples = Samples()
        devices = sorted(set(self._devices()))
        self._listings = {device: self._listings[device] for device in devices if device in self._listings}
        failures = [error for device in devices if (error := self._try(device, samples)) is not None]
        for labels, count in self._errors.items():
            samples.add(ERRORS, count, *labels)
        if failures and not self._listings:
            samples.problem = failures[0]
        if time.monotonic() - self._saved_at >= SAVE_SECONDS:
            self._save()
        return samples

    def close(self) -> None:
        """Keep the counters, close the socket."""
        self._save()
        if self._socket is not None:
            self._socket.close()

    def _devices(self) -> Iterator[str]:
        """As the rdma source found them; where it has not looked, as sysfs lists them."""
        if self._board.ports is not None:
            yield from (netdev for port in self._board.ports for netdev in port.netdevs)
        else:
            yield from (path.name for path in self._sysfs.glob("class/infiniband/*/device/net/*"))

    def _try(self, device: str, samples: Samples) -> OSError | None:
        try:
            self._read(device, samples)
        except OSError as error:
            self._listings.pop(device, None)
            if error.errno in ABSENT:
                return None
            self._errors[device, errno.errorcode.get(error.errno or 0, "unknown")] += 1
            return error
        return None

    def _read(self, device: str, samples: Samples) -> None:
        asked = self._socket = self._socket or StatisticsSocket()
        count = asked.count(device)
        listing = self._listing(device, asked.names(device, count))
        values = asked.values(device, count)
        memory = self._memory(device)
        was_reset = False
        for reading in listing.readings:
            value = values[reading.position]
            if reading.family.type == "counter":
                counter = memory.counter(reading.key, reading.bits)
                was_reset |= counter.take(value)
                value = counter.total
            samples.add(
                reading.family, value if reading.divisor == 1 else value / reading.divisor, *reading.labels
            )
        for position, name in listing.raw:
            samples.add(RAW, values[position], device, name)
        if listing.readings:
            self._declare(device, memory, was_reset, samples)

    def _declare(self, device: str, memory: Memory, was_reset: bool, samples: Samples) -> None:
        if was_reset:
            memory.resets[""] += 1
            self._saved_at = -math.inf
        samples.add(RESETS, memory.resets[""], device)

    def _memory(self, device: str) -> Memory:
        memory = self._memories[device] = self._memories.pop(device, Memory())
        memory.resets.setdefault("", 0)
        memory.live(f"{self._boot}:")
        return memory

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        if not self._memories:
            return  # a machine without such devices needs no directory for it
        for device in list(self._memories)[: -len(self._listings) - MOST_GONE]:
            del self._memories[device]
        self._kept.save({"devices": {name: memory.document() for name, memory in self._memories.items()}})

    def _listing(self, device: str, names: bytes) -> Listing:
        """Names are read each time, which costs little beside the values: mlx5 lists only priorities with PFC, so
        that moving PFC from one to another changes names and not their number."""
        listing = self._listings.get(device)
        if listing is None or listing.names != names:
            found = split(names)
            listing = Listing(names, readings(device, found), list(self._asked_for(found)))
            self._listings[device] = listing
        return listing

    def _asked_for(self, names: list[str]) -> Iterator[tuple[int, str]]:
        for position, name in enumerate(names):
            if self._include is not None and self._include.search(name) and not known(name):
                yield position, name
