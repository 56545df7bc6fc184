"""Which GPUs this node should have. A GPU once seen is expected until the node boots again, also by an agent that
was restarted after the loss; a machine that was changed is accepted at its boot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...kept import Kept
from ..contract import World

LABELS = ("index", "pci", "name", "serial", "vbios", "minor", "numa")
"""Of a GPU, besides its UUID."""
_NVIDIA = "0x10de"
_GPU_CLASSES = ("0x0300", "0x0302")
"""PCI class and subclass: VGA controller, 3D controller."""


@dataclass(frozen=True)
class Known:
    """A GPU that was seen since boot."""

    uuid: str
    labels: Mapping[str, str]
    """By the names in LABELS; empty where unknown."""


class Inventory:
    """GPUs by UUID, kept across restarts of the agent."""

    def __init__(self, world: World) -> None:
        self._devices = world.sysfs / "bus/pci/devices"
        self._visible = world.procfs / "driver/nvidia/gpus"
        self._boot = _boot_id(world)
        self._kept = Kept(world.state, "gpu")
        self.known = self._load()

    def meet(self, gpus: Iterable[Mapping[str, Any]]) -> None:
        """These are there now."""
        before = dict(self.known)
        for gpu in gpus:
            labels = {label: str(gpu.get(label, "")) for label in LABELS}
            labels["numa"] = self._numa(labels["pci"])
            self.known[str(gpu["uuid"])] = Known(str(gpu["uuid"]), labels)
        if self.known != before:
            self.save()

    def save(self) -> None:
        """Keep what is known."""
        gpus = {uuid: dict(known.labels) for uuid, known in self.known.items()}
        self._kept.save({"boot": self._boot, "gpus": gpus})

    def functions(self) -> set[str] | None:
        """PCI addresses of the GPUs that NVIDIA's driver has, or should have, and this process may see; None
        where sysfs lists no PCI device at all.

        A container's sysfs shows the whole node; the driver's procfs, which container runtimes mask, does not.
        """
        try:
            devices = list(self._devices.iterdir())
        except OSError:
            return None
        if not devices:
            return None
        found = {device.name for device in devices if _is_ours(device)}
        if self._visible.is_dir():
            found &= {entry.name.lower() for entry in self._visible.iterdir()}
        return found

    def expected(self, functions: set[str] | None) -> int:
        """How many GPUs there should be: those known, and those on the bus that never gave their UUID."""
        return len(self.known) + len(
            (functions or set()) - {known.labels["pci"] for known in self.known.values()}
        )

    def _numa(self, pci: str) -> str:
        try:
            node = (self._devices / pci / "numa_node").read_text().strip()
        except OSError:
            return ""
        return "" if node == "-1" else node

    def _load(self) -> dict[str, Known]:
        document = self._kept.load()
        gpus = document.get("gpus")
        if not self._boot or document.get("boot") != self._boot or not isinstance(gpus, dict):
            return {}
        return {
            uuid: Known(uuid, {label: str(labels.get(label, "")) for label in LABELS})
            for uuid, labels in gpus.items()
            if isinstance(labels, dict)
        }


def _is_ours(device: Path) -> bool:
    """A GPU that another driver has is a virtual machine's, or a screen's; one that none has waits for ours."""
    try:
        return (
            (device / "vendor").read_text().strip() == _NVIDIA
            and (device / "class").read_text().startswith(_GPU_CLASSES)
            and _driver(device) in ("", "nvidia")
        )
    except OSError:
        return False  # it goes at this moment


def _driver(device: Path) -> str:
    """Empty where none has it."""
    link = device / "driver"
    return link.resolve().name if link.is_symlink() else ""


def _boot_id(world: World) -> str:
    try:
        return (world.procfs / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
