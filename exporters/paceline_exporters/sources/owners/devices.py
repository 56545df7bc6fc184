"""Which GPU or RDMA device an allocated device is, by whatever name its plugin or driver gave it.

- `GPU-...`, `MIG-...`: NVIDIA's device plugin; with `::N` at the end under time slicing and MPS.
- `nvidiaN`, `nvidiaN/giM`: Google's; `gpu-N`, `gpu-N-mig-...`: NVIDIA's DRA driver. N is the GPU's minor number;
  of an instance the GPU is known, and the owner of an instance is an owner of its GPU.
- A PCI function, also with dashes and with `pci-` before it: SR-IOV plugins, DRA drivers for networks.
- The name of an RDMA device, or of its network device.
- Anything else (the ordinals of the shared RDMA plugin) tells no device.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..board import Gpu, Port

_HEX = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_UUID = re.compile(f"(?:GPU|MIG)-{_HEX}")
_BARE = re.compile(_HEX)
_PCI = re.compile(
    r"(?:pci-)?(?:[0-9a-f]{4})?([0-9a-f]{4})[:-]([0-9a-f]{2})[:-]([0-9a-f]{2})[.-]([0-7])", re.ASCII
)
_MINOR = re.compile(r"(?:gpu-|nvidia)(\d{1,4})(?:-mig-.+|/.+)?", re.ASCII)


class Device(NamedTuple):
    """A GPU by UUID, or an RDMA device by name."""

    kind: str
    """`gpu` or `nic`."""
    name: str


class DeviceNames:
    """The devices of this node, by all their names."""

    def __init__(self, gpus: Sequence[Gpu], ports: Iterable[Port], minors: Mapping[str, int]) -> None:
        """`minors`: UUID -> minor number; where it is not known, NVML's index takes its place."""
        self._uuids = tuple(gpu.uuid for gpu in gpus)
        self._by_index = {gpu.index: gpu.uuid for gpu in gpus if not gpu.parent}
        self._known: dict[str, Device] = {}
        for port in ports:
            for name in filter(None, (port.device, port.pci, *port.netdevs)):
                self._known.setdefault(name, Device("nic", port.device))
        for gpu in gpus:
            if not gpu.parent:
                for name in (gpu.pci, f"gpu-{minors.get(gpu.uuid, gpu.index)}"):
                    self._known[name] = Device("gpu", gpu.uuid)

    def find(self, names: Iterable[str]) -> Device | None:
        """The device that the first telling name means."""
        return next((device for name in names if (device := self._find(name.partition("::")[0]))), None)

    def uuid(self, text: str) -> str:
        """A GPU's UUID as CUDA and torch write it (torch leaves out the prefix, CUDA_VISIBLE_DEVICES may leave
        out the end); empty where it is none, or could be several."""
        if _UUID.fullmatch(text):
            return text
        if _BARE.fullmatch(text):
            return next((uuid for uuid in self._uuids if uuid[4:] == text), f"GPU-{text}")
        matches = [uuid for uuid in self._uuids if text.startswith(("GPU-", "MIG-")) and uuid.startswith(text)]
        return matches[0] if len(matches) == 1 else ""

    def indexed(self, index: int) -> str:
        """UUID of the whole GPU that NVML numbers so; empty where there is none."""
        return self._by_index.get(index, "")

    def _find(self, name: str) -> Device | None:
        if _UUID.fullmatch(name):
            return Device("gpu", name)  # known or not: a GPU that is lost still has its owner
        if match := _PCI.fullmatch(name.lower()):
            name = "{}:{}:{}.{}".format(*match.groups())
        elif match := _MINOR.fullmatch(name):
            name = f"gpu-{int(match[1])}"
        return self._known.get(name)


def minors(procfs: Path) -> dict[str, int]:
    """UUID -> minor number of each GPU, from /proc/driver/nvidia/gpus/ADDRESS/information of the NVIDIA driver;
    empty where it cannot be read (containers see an empty directory in its place)."""
    found = {}
    try:
        texts = [(path / "information").read_text() for path in (procfs / "driver/nvidia/gpus").iterdir()]
    except OSError:
        return {}
    for text in texts:
        values = {
            name.strip(): value.strip() for name, _, value in (line.partition(":") for line in text.split("\n"))
        }
        if values.get("Device Minor", "").isdecimal():
            found[values.get("GPU UUID", "")] = int(values["Device Minor"])
    return found
