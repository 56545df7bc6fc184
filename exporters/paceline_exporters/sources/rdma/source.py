"""The rdma source: all devices, what is known of them over time, and who they are for the other sources."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from ...kept import Kept
from ...metrics import Family, Samples
from ..contract import World
from ..extend import SAVE_SECONDS, Memory, boot_name
from . import compat, counters
from .device import FAMILIES as DEVICE_FAMILIES
from .device import READ_ERRORS, Device, Reading, count_error
from .inventory import Inventory, Known
from .port import FAMILIES as PORT_FAMILIES
from .rounds import Rounds
from .tree import Descriptors, names

PATIENCE_SECONDS = 1.0
"""For one device. One that needs longer counts as one that hangs: what it says in the end is not used."""
TIMED_OUT = "ETIMEDOUT"
NODE_EXPORTER = "node_exporter"

UP = Family(
    "paceline_rdma_port_up",
    "1 while the port is there and its driver answers; 0 while the driver does not, and once the port is gone: "
    "for 7 days, that of a virtual function or software device for 10 minutes.",
    "gauge",
    "",
    counters.PORT,
)


class RdmaSource:
    """Every port of every RDMA device under /sys/class/infiniband."""

    name = "rdma"
    period_seconds = 5.0
    deadline_seconds = 4.0

    def __init__(self, world: World) -> None:
        self.families = (
            UP,
            *PORT_FAMILIES,
            *DEVICE_FAMILIES,
            *counters.NAMED,
            *(compat.FAMILIES if NODE_EXPORTER in world.compat else ()),
            # Of unbounded number, hence the first that a budget of series leaves out.
            counters.RESOURCES,
            counters.RESOURCES_PEAK,
            counters.OTHER,
            counters.OTHER_OF_DEVICE,
        )
        self._world = world
        self._directory = world.sysfs / "class/infiniband"
        self._compat = NODE_EXPORTER in world.compat
        self._descriptors = Descriptors()
        self._rounds: Rounds[Reading] = Rounds(PATIENCE_SECONDS, self.deadline_seconds * 0.75)
        self._devices: dict[str, tuple[str, Device]] = {}
        """Generation and device, by name."""
        self._last: dict[str, Reading] = {}
        """The latest of each device that is listed."""
        self._nothing = Samples()
        self._kept = Kept(world.state, "rdma")
        document = self._kept.load()
        self._inventory = Inventory(document.get("ports"))
        saved = document.get("devices")
        self._saved: dict[str, Any] = saved if isinstance(saved, dict) else {}
        self._memories = {name: Memory(found) for name, found in self._saved.items()}
        self._saved_at = -math.inf
        self._failing: frozenset[str] = frozenset()
        """Devices that did not answer the last time."""

    def sample(self) -> Samples:
        """Raises OSError where the class directory is there and cannot be listed."""
        now = time.monotonic()
        lives, failures = self._lives()
        self._match(lives)
        if not lives and not failures and not any(self._inventory):
            self._world.board.ports = ()
            return self._nothing
        outcomes = self._rounds.run(
            {name: partial(found.read, now) for name, (_, found) in self._devices.items()}
        )
        readings = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Reading)}
        failures |= {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Exception)}
        self._last |= readings
        self._world.board.ports = tuple(port for reading in self._last.values() for port in reading.ports)
        samples = self._joined(readings.values())
        self._failing = frozenset(failures)
        self._add_inventory(samples, readings.values(), failures)
        for name, error in failures.items():
            self._add_failure(samples, name, error)
        if now - self._saved_at >= SAVE_SECONDS or any(reading.reset for reading in readings.values()):
            self._save()
        return samples

    def close(self) -> None:
        """Keep the counters, close the files of all devices that are not being read."""
        self._save()
        for name in self._devices.keys() - self._rounds.stuck():
            self._devices[name][1].close()
        self._rounds.close()

    def _lives(self) -> tuple[dict[str, str], dict[str, Exception]]:
        """The devices that are listed now, each with a name for its present life: the inode of its directory in
        sysfs is a number that the kernel gives once per boot (kernfs_ino, on 64-bit machines). And those that are
        listed and cannot be looked at."""
        boot = boot_name(self._world.procfs)
        lives, failures = dict[str, str](), dict[str, Exception]()
        for name in names(self._directory, _raise):
            try:
                lives[name] = f"{boot}:{(self._directory / name).stat().st_ino}"
            except FileNotFoundError:  # went in between
                continue
            except OSError as error:
                failures[name] = error
        return lives, failures

    def _match(self, lives: dict[str, str]) -> None:
        """Let go of devices that went, take up those that came. One that is still read is let be for now."""
        stuck = self._rounds.stuck()
        for name in [name for name, (life, _) in self._devices.items() if lives.get(name) != life]:
            if name not in stuck:
                self._devices.pop(name)[1].close()
                self._last.pop(name, None)
                self._save_soon()
        for name, life in lives.items():
            if name not in self._devices:
                memory = self._memories.setdefault(name, Memory())
                memory.live(life, counters.outlives_driver)
                found = Device(self._directory / name, memory, self._descriptors, self._compat)
                self._devices[name] = (life, found)

    def _joined(self, readings: Iterable[Reading]) -> Samples:
        samples = Samples()
        points = samples.points
        for family in self.families:  # the order in which a budget of series is spent
            points[family] = {}
        for reading in readings:
            for found in (reading.samples.points, reading.counters):
                for family, series in found.items():
                    points[family].update(series)
        return samples

    def _add_inventory(
        self, samples: Samples, readings: Iterable[Reading], failures: Mapping[str, Exception]
    ) -> None:
        seen = time.time()
        present = [
            Known(port.device, port.port, port.pci, reading.removable, seen)
            for reading in self._last.values()
            for port in reading.ports
        ]
        # One that has never answered since the agent came: sysfs lists its ports without asking its driver.
        present += [known for name in failures if name not in self._last for known in self._listed(name, seen)]
        self._inventory.see(present, seen)
        answering = {(port.device, port.port) for reading in readings for port in reading.ports}
        for known in self._inventory:
            samples.add(UP, int((known.device, known.port) in answering), known.device, known.port)

    def _listed(self, name: str, seen: float) -> Iterator[Known]:
        before = {(known.device, known.port): known for known in self._inventory}
        for port in names(self._directory / name / "ports", _ignore):
            if port.isdecimal():
                known = before.get((name, port), Known(name, port, "", removable=False, seen=seen))
                yield replace(known, seen=seen)

    def _add_failure(self, samples: Samples, name: str, error: Exception) -> None:
        """A device that does not answer: its counters are absent, its errors are told, the sample has failed."""
        errors = self._memories.setdefault(name, Memory()).errors
        samples.problem = error
        if isinstance(error, TimeoutError):
            samples.problem = TimeoutError(f"RDMA device {name}: {error}")
            errors[TIMED_OUT] = errors.get(TIMED_OUT, 0) + 1
        elif isinstance(error, OSError):
            count_error(errors, error)
        for kind, count in list(errors.items()):
            samples.add(READ_ERRORS, count, name, kind)

    def _save_soon(self) -> None:
        self._saved_at = -math.inf

    def _save(self) -> None:
        """A device that is being read, by a thread left behind, keeps what was saved of it before."""
        self._saved_at = time.monotonic()
        if not (self._saved or self._devices):
            return  # a machine without RDMA needs no directory for it
        remembered = {known.device for known in self._inventory} | self._devices.keys() | self._failing
        stuck = self._rounds.stuck()
        self._memories = {name: memory for name, memory in self._memories.items() if name in remembered}
        for name in self._saved.keys() - remembered:
            del self._saved[name]
        for name in self._memories.keys() - stuck:
            self._saved[name] = self._memories[name].document()
        self._kept.save({"devices": self._saved, "ports": self._inventory.document()})


def _raise(error: Exception) -> None:
    raise error


def _ignore(error: Exception) -> None:
    """The device is known to fail."""
