"""One RDMA device: which files it has, and one reading of them all."""

from __future__ import annotations

import errno
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from ...metrics import Family, Labels, Samples
from ..board import Port
from ..extend import Memory
from . import compat
from .binding import Binding, Points
from .counters import HARDWARE, OTHER, PMA, Meaning, meaning
from .identity import Identity, identify
from .port import PortFiles
from .tree import Attribute, Descriptors, names
from .values import ABSENT

RESCAN_SECONDS = 30.0
"""Between two looks at which files there are; a device that came or went is seen at the next sample."""
GARBLED = "EBADMSG"
"""Counted for a file that holds no number: the errno of a bad message."""

DEVICE_INFO = Family(
    "paceline_rdma_device_info",
    "The device: driver, PCI function, firmware, board.",
    "info",
    "",
    ("device", "driver", "pci", "firmware", "board", "hca_type", "node_guid"),
)
READ_ERRORS = Family(
    "paceline_rdma_read_errors_total",
    "Reads of the device's files that failed, by errno; each cost its own series only. ETIMEDOUT: the driver "
    "did not answer. EBADMSG: what it said is no number.",
    "counter",
    "",
    ("device", "error"),
)
RESETS = Family(
    "paceline_rdma_port_stats_resets_total",
    "Times that counters of the port began anew (of the device's own counters: without port), as by a reload of "
    "its driver. The counters served here go on over it.",
    "counter",
    "",
    ("device", "port"),
)
SATURATED = Family(
    "paceline_rdma_port_counters_saturated",
    "Counters of the port that stand at their limit and count no more until they are reset (perfquery -R).",
    "gauge",
    "",
    ("device", "port"),
)
SATURATED_COUNTER = Family(
    "paceline_rdma_port_counter_saturated",
    "1 for each counter that stands at its limit, by its name in sysfs; absent for the others.",
    "gauge",
    "",
    ("device", "port", "counter"),
)
FAMILIES = (DEVICE_INFO, READ_ERRORS, RESETS, SATURATED, SATURATED_COUNTER)


@dataclass(frozen=True)
class Reading:
    """A device as it was found."""

    samples: Samples
    """Its state."""
    counters: Points
    """Its counters: the device's own store, good until the next reading."""
    ports: tuple[Port, ...]
    removable: bool
    """See Identity."""
    reset: bool
    """A counter was reset since the reading before."""


class Device:
    """A device in its present life: from its appearance in sysfs to its removal."""

    def __init__(self, path: Path, memory: Memory, descriptors: Descriptors, serve_compat: bool) -> None:
        """`path` is /sys/class/infiniband/NAME; `memory` outlives this object."""
        self.name = path.name
        self._path = path
        self._memory = memory
        self._descriptors = descriptors
        self._compat = serve_compat
        self._scanned_at: float | None = None
        self._identity = Identity("", "", (), False, "", "", "", "")
        self._ports: dict[str, PortFiles] = {}
        self._bindings: dict[str, Binding] = {}
        self._parts: dict[tuple[Family, Labels], list[Binding]] = {}
        """The files that go to each series."""
        self._points: Points = defaultdict(dict)
        """Of all bindings."""

    def read(self, now: float) -> Reading:
        """Everything once; `now` is monotonic, in seconds. What fails is counted by errno and absent."""
        if self._scanned_at is None or now - self._scanned_at >= RESCAN_SECONDS:
            self._scan()
            self._scanned_at = now
        samples = Samples()
        self._add_ports(samples)
        reset = self._read_counters(samples)
        for port in reset:
            self._memory.resets[port] += 1
        for port, resets in self._memory.resets.items():
            samples.add(RESETS, resets, self.name, port)
        for error, count in self._memory.errors.items():
            samples.add(READ_ERRORS, count, self.name, error)
        ports = tuple(
            Port(self.name, port, self._identity.pci, files.netdevs, files.link_layer)
            for port, files in self._ports.items()
        )
        return Reading(samples, self._points, ports, self._identity.removable, bool(reset))

    def close(self) -> None:
        """Let all files go."""
        for files in self._ports.values():
            files.close()
        for key in list(self._bindings):
            self._unbind(key)

    def _scan(self) -> None:
        self._identity = identify(self._path, self._failed)
        ports = [name for name in names(self._path / "ports", self._failed) if name.isdecimal()]
        for port in self._ports.keys() - set(ports):
            self._ports.pop(port).close()
        for port in ports:
            self._memory.resets.setdefault(port, 0)
            if port not in self._ports:
                self._ports[port] = PortFiles(self._path, port, self._descriptors, self._compat)
            self._ports[port].identify(self._identity.netdevs, self._failed)
        self._scan_counters(ports)

    def _scan_counters(self, ports: list[str]) -> None:
        directories = [(port, kind, f"ports/{port}/{kind}") for port in ports for kind in (*PMA, HARDWARE)]
        found: dict[str, tuple[str, str, str]] = {}
        for port, kind, directory in (*directories, ("", HARDWARE, HARDWARE)):
            files = names(self._path / directory, self._failed)
            found |= {f"{directory}/{file}": (port, kind, file) for file in files}
            if files and not port:
                self._memory.resets.setdefault(port, 0)
        for key in self._bindings.keys() - found.keys():
            self._unbind(key)
        for key, (port, kind, file) in found.items():
            if key not in self._bindings:
                self._bind(key, port, kind, file)

    def _bind(self, key: str, port: str, kind: str, file: str) -> None:
        means = meaning(self._identity.driver, kind, file, port)
        attribute = Attribute(f"{self._path}/{key}", self._descriptors)
        if means is None or self._is_absent(attribute):
            return
        labels = self._labels(means, port)
        if self._parts.get((means.family, labels)) and not means.shared:
            # Two files of one meaning: a series has one writer, the other keeps its own name. That it may stop at
            # its limit is no loss, as the first goes on.
            means = replace(means, family=OTHER, label=file, limit=None)
            labels = self._labels(means, port)
        parts = self._parts.setdefault((means.family, labels), [])
        if parts and not means.shared:  # that name is taken as well
            attribute.close()
            return
        shown, factor = compat.counter(self._identity.driver, kind, file) if self._compat and port else (None, 1)
        self._bindings[key] = Binding(
            attribute=attribute,
            place=(self.name, port),
            file=file,
            means=means,
            labels=labels,
            extended=self._memory.counter(key, means.bits) if means.is_counter else None,
            compat=shown,
            compat_factor=factor,
            parts=parts,
        )

    def _unbind(self, key: str) -> None:
        binding = self._bindings.pop(key)
        binding.close(self._points)
        if not binding.parts:
            del self._parts[binding.means.family, binding.labels]

    def _labels(self, means: Meaning, port: str) -> Labels:
        return tuple(label for label in (self.name, port, means.label) if label)

    def _is_absent(self, attribute: Attribute) -> bool:
        """No PerfMgmt agent: asked again at the next scan. A file that fails is read, and counted, each time."""
        try:
            absent = attribute.read().startswith(ABSENT)
        except OSError:
            return False
        if absent:
            attribute.close()
        return absent

    def _add_ports(self, samples: Samples) -> None:
        about = self._identity
        labels = (about.driver, about.pci, about.firmware, about.board, about.hca_type, about.node_guid)
        samples.add(DEVICE_INFO, 1, self.name, *labels)
        if self._compat:
            samples.add(compat.INFO, 1, about.board, self.name, about.firmware, about.hca_type)
        for files in self._ports.values():
            files.add(samples, self._failed)

    def _read_counters(self, samples: Samples) -> set[str]:
        """The ports whose counters were reset."""
        saturated = dict.fromkeys(self._ports, 0)
        reset: set[str] = set()
        points = self._points
        for binding in self._bindings.values():
            try:
                if binding.read(points):
                    reset.add(binding.place[1])
            except (OSError, ValueError) as error:
                binding.forget(points)
                self._failed(error)
            if binding.saturated:
                saturated[binding.place[1]] += 1
                samples.add(SATURATED_COUNTER, 1, *binding.place, binding.file)
        for port, count in saturated.items():
            samples.add(SATURATED, count, self.name, port)
        return reset

    def _failed(self, error: Exception) -> None:
        count_error(self._memory.errors, error)


def count_error(errors: dict[str, int], error: Exception) -> None:
    """Under the name of its errno."""
    number = error.errno if isinstance(error, OSError) else None
    name = errno.errorcode.get(number, "unknown") if number is not None else GARBLED
    errors[name] = errors.get(name, 0) + 1
