"""GPUs, from NVML in a process of its own, and from the kernel's log."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from typing import Any

from ...kept import Kept
from ...metrics import Family, Labels, Samples, Value
from ..contract import World
from . import families as of
from .fleet import Fleet
from .inventory import LABELS, Inventory, Known
from .keeper import Keeper
from .process import Kill
from .xid import XidLedger

SETTLE_SECONDS = 1.0
"""The first sample waits for the child's first round, so that a single scrape shows GPUs too."""
BUS_SECONDS = 10.0
"""Between looks at the PCI bus."""
IDLE_SECONDS = 10.0
"""Between samples when the child says nothing."""


class GpuSource:
    """Reads what the child has said, never waits for it, and never shows what is no longer so."""

    name = "gpu"
    period_seconds = 1.0
    deadline_seconds = 2.0
    families = (*of.FAMILIES, *XidLedger.families)

    def __init__(self, world: World, kill: Kill = subprocess.Popen.kill) -> None:
        """`kill` is what ends a child."""
        self.keeper = Keeper(kill)
        self._board = world.board
        self._inventory = Inventory(world)
        self._fleet = Fleet()
        self._ledger = XidLedger(Kept(world.state, "xid"), world)
        self._functions: set[str] | None = None
        self._bus_at = 0.0
        self._samples: Samples | None = None
        self._samples_at = 0.0
        self._was: object = None

    def sample(self) -> Samples:
        """Never raises for the driver: the inventory is served all the same, with what is wrong as `problem`."""
        now = time.monotonic()
        if now - self._bus_at >= BUS_SECONDS or self._samples is None:
            self._functions, self._bus_at = self._inventory.functions(), now
        self._listen()
        if self._samples is None:
            self._settle()
        self._ledger.poll_kernel_log()
        self._ledger.save()
        down = {uuid: self._down(uuid) for uuid in self._inventory.known}
        state = (self.keeper.trouble, down)
        if self._samples is None or state != self._was or now - self._samples_at >= IDLE_SECONDS:
            self._was = state
            self._samples, self._samples_at = self._render(down), now
        return self._samples

    def close(self) -> None:
        """End the child; keep the counts."""
        self.keeper.close()
        self._inventory.save()
        self._ledger.close()

    @property
    def _is_expecting(self) -> bool:
        return bool(self._inventory.known or self._functions)

    def _listen(self) -> None:
        for message in self.keeper.poll(self._is_expecting):
            self._fleet.apply(message)
            match message:
                case ["topology", _, gpus, _]:
                    self._inventory.meet(gpus)
                    self._board.gpus = tuple(self._fleet.board())
                case ["xid", uuid, code, wall]:
                    self._ledger.from_driver(uuid, code, wall)
            if message[0] != "begin":
                self._was = None  # news

    def _settle(self) -> None:
        until = time.monotonic() + SETTLE_SECONDS
        while (child := self.keeper.child) and not child.rounds and (left := until - time.monotonic()) > 0:
            self.keeper.settle(left)
            self._listen()

    def _down(self, uuid: str) -> str:
        """Why a GPU is not up; empty while it is."""
        known, fleet = self._inventory.known[uuid], self._fleet
        if self.keeper.suspects & {uuid, f"#{known.labels['index']}"}:
            return "hung"
        if uuid in fleet.lost:
            return "lost"
        if fleet.is_gone:
            return "driver"
        if uuid not in fleet.listed and fleet.versions:
            return "missing" if len(self._inventory.known.keys() - fleet.listed) > fleet.unopened else "lost"
        return "" if fleet.is_fresh(uuid) else "stale"

    def _render(self, down: Mapping[str, str]) -> Samples:
        samples = Samples()
        for uuid, known in self._inventory.known.items():
            self._add_inventory(samples, known, down[uuid])
        up = [uuid for uuid, reason in down.items() if not reason]
        for uuid in up:
            self._add_gpu(samples, uuid)
        self._share_processes(up)
        self._ledger.add_to(samples, self._board.gpus or (), self._inventory.known)
        self._add_keeper(samples, len(up))
        if self._is_expecting:
            samples.problem = self.keeper.trouble
        return samples

    def _add_inventory(self, samples: Samples, known: Known, reason: str) -> None:
        uuid, pci = known.uuid, known.labels["pci"]
        listed = uuid in self._fleet.listed and uuid not in self._fleet.lost and not self._fleet.is_gone
        samples.add(of.INFO, 1, uuid, *(known.labels[label] for label in LABELS))
        samples.add(of.EXPECTED, 1, uuid)
        # One that answers is there, also where it is no PCI device to us, as in WSL.
        is_present = not reason or (listed if self._functions is None else pci in self._functions)
        samples.add(of.PRESENT, int(is_present), uuid)
        samples.add(of.UP, int(not reason), uuid)
        if reason:
            samples.add(of.DOWN, 1, uuid, reason)

    def _add_gpu(self, samples: Samples, uuid: str) -> None:
        _add(samples, of.GPU, uuid, self._fleet)
        processes = self._fleet.processes(uuid)
        samples.add(of.PROCESSES, None if processes is None else len(processes), uuid)
        for instance in self._fleet.instances(uuid):
            one = instance["uuid"]
            samples.add(of.MIG_INFO, 1, one, uuid, *(instance[label] for label in ("gi", "ci", "profile")))
            _add(samples, of.MIG, one, self._fleet)
            processes = self._fleet.processes(one)
            samples.add(of.MIG_PROCESSES, None if processes is None else len(processes), one)

    def _share_processes(self, up: list[str]) -> None:
        devices = [device.uuid for device in self._board.gpus or () if (device.parent or device.uuid) in up]
        lists = [found for uuid in devices if (found := self._fleet.processes(uuid)) is not None]
        self._board.gpu_processes = tuple(process for found in lists for process in found) if lists else None

    def _add_keeper(self, samples: Samples, up: int) -> None:
        keeper = self.keeper
        is_available = not self._fleet.is_gone and bool(self._fleet.versions) and keeper.child is not None
        samples.add(of.NVML_AVAILABLE, int(is_available))
        if not self._is_expecting:
            return
        versions = self._fleet.versions
        if versions and not self._fleet.is_gone:
            samples.add(of.DRIVER_INFO, 1, *(str(versions.get(key, "")) for key in of.DRIVER_INFO.labels))
        samples.add(of.GPUS_EXPECTED, self._inventory.expected(self._functions))
        samples.add(of.GPUS_UP, up)
        samples.add(of.NVML_SECONDS, keeper.nvml_seconds)
        for error, count in {**dict.fromkeys(of.KNOWN_ERRORS, 0), **keeper.errors}.items():
            samples.add(of.CALL_ERRORS, count, error)
        for group, count in keeper.deadline_misses.items():
            samples.add(of.DEADLINE_MISSES, count, group)
        for reason, count in keeper.restarts.items():
            samples.add(of.RESTARTS, count, reason)
        samples.add(of.ABANDONED, keeper.killed.abandoned)
        memory, seconds = keeper.cost()
        samples.add(of.CHILD_MEMORY, memory or None)
        samples.add(of.CHILD_CPU, seconds)


def _add(samples: Samples, table: Mapping[str, Family], uuid: str, fleet: Fleet) -> None:
    for reading in fleet.readings(uuid):
        if reading.points is None:
            reading.points = [
                (family, _series(uuid, value))
                for name, value in reading.values.items()
                if (family := table.get(name)) is not None  # not processes, or what another version says
            ]
        for family, points in reading.points:
            samples.points[family].update(points)


def _series(uuid: str, value: Any) -> Mapping[Labels, Value]:
    if isinstance(value, dict):
        return {(uuid, label): each for label, each in value.items()}
    return {(uuid,): value}
