"""The latest that the child said of each GPU and MIG instance."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...metrics import Family, Labels, Value
from ..board import Gpu, GpuProcess
from .child.groups import PERIODS
from .links import Links
from .messages import Message
from .pace import Pace

Readings = dict[str, Any]

STALE_SECONDS = {group: 2 * period + 4.0 for group, period in PERIODS.items()}
"""By group: readings older than this, and what a round takes, are dropped. A child that hung on one GPU is killed
and followed by the next within it, so that the other GPUs' series stay."""
STALE_SECONDS["activity"] = STALE_SECONDS["fast"] + PERIODS["fast"]
"""A child's first round has none."""


@dataclass
class Reading:
    """What the child said of one group."""

    at: float
    """Monotonic, seconds."""
    values: Readings
    """By name; a value is a number, or numbers by label."""
    points: Sequence[tuple[Family, Mapping[Labels, Value]]] | None = None
    """The same as series, once somebody made them: a reading is shown several times."""


class Fleet:
    """GPUs as the driver lists them, and their readings."""

    def __init__(self) -> None:
        self.versions: Mapping[str, str] = {}
        self.listed: dict[str, dict[str, Any]] = {}
        """Whole GPUs of the latest topology, by UUID."""
        self.unopened = 0
        """GPUs that NVML counts and does not let be opened: they have no UUID."""
        self.lost: set[str] = set()
        """UUIDs that NVML called lost and has not listed since."""
        self.is_gone = False
        """The driver as a whole does not answer."""
        self._readings: dict[str, dict[str, Reading]] = {}
        self._links = Links()
        self._pace = Pace()

    def apply(self, message: Message) -> None:
        """Take what a message says."""
        self._pace.note(message)
        match message:
            case ["data", group, uuid, at, values] if group in STALE_SECONDS:
                self._links.add_up(uuid, values)
                self._readings.setdefault(uuid, {})[group] = Reading(at, values)
            case ["topology", versions, gpus, failed]:
                self._list(versions, gpus)
                self.unopened = len(failed)
            case ["lost", uuid, _]:
                self.lost.add(uuid)
                self._links.forget(uuid)
                self._forget(uuid)
            case ["gone", _]:
                self.is_gone = True
                self._readings.clear()
                self._links.clear()

    def is_fresh(self, uuid: str) -> bool:
        """Whether the GPU has answered lately."""
        latest = self._readings.get(uuid, {}).get("fast")
        return latest is not None and time.monotonic() - latest.at <= self._limit("fast")

    def readings(self, uuid: str) -> Iterator[Reading]:
        """All that are fresh."""
        now = time.monotonic()
        for group, reading in self._readings.get(uuid, {}).items():
            if now - reading.at <= self._limit(group):
                yield reading

    def processes(self, uuid: str) -> list[GpuProcess] | None:
        """Of a GPU or an instance; None where they are not known."""
        lists = (reading.values.get("processes") for reading in self.readings(uuid))
        found = next((each for each in lists if isinstance(each, dict)), None)
        if found is None:
            return None
        return [
            GpuProcess(uuid, int(pid), memory if memory >= 0 else None)
            for pid, memory in found.items()
            if pid.isdecimal()
        ]

    def instances(self, uuid: str) -> list[dict[str, str]]:
        """MIG instances of a GPU, as the topology describes them."""
        return list(self.listed.get(uuid, {}).get("mig", ()))

    def board(self) -> Iterator[Gpu]:
        """Every GPU and instance listed."""
        for uuid, gpu in self.listed.items():
            place = (int(gpu["index"]), str(gpu["pci"]))
            yield Gpu(uuid, *place)
            yield from (Gpu(instance["uuid"], *place, parent=uuid) for instance in self.instances(uuid))

    def _limit(self, group: str) -> float:
        return STALE_SECONDS[group] + self._pace.round_seconds

    def _list(self, versions: Mapping[str, str], gpus: list[dict[str, Any]]) -> None:
        self.is_gone = False
        self.versions = versions
        self.listed = {str(gpu["uuid"]): gpu for gpu in gpus}
        self.lost -= self.listed.keys()
        alive = {gpu.uuid for gpu in self.board()}
        for uuid in self._readings.keys() - alive:
            del self._readings[uuid]

    def _forget(self, uuid: str) -> None:
        for each in (uuid, *(instance["uuid"] for instance in self.instances(uuid))):
            self._readings.pop(each, None)
