"""The PCI functions of this machine, as sysfs lists them: hardware shows here without any driver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NVIDIA = 0x10DE
MELLANOX = 0x15B3
AMAZON = 0x1D0F
DISPLAY = 0x03
"""Base class of GPUs (class 0x0300 with a display, 0x0302 without), of the PCI Code and ID Assignment
Specification; networks are 0x02, of which InfiniBand is 0x0207."""
NETWORK = 0x02
INFINIBAND = 0x0207


@dataclass(frozen=True)
class Function:
    """One PCI function."""

    address: str
    vendor: int
    device: int
    kind: int
    """Class and subclass."""
    driver: str
    """Bound to it; empty for none."""

    @property
    def base(self) -> int:
        """Base class."""
        return self.kind >> 8


def functions(sysfs: Path) -> Iterator[Function]:
    """Every function; one that vanishes meanwhile is left out."""
    for path in sorted(sysfs.glob("bus/pci/devices/*")):
        try:
            vendor, device, kind = (int((path / name).read_text(), 16) for name in ("vendor", "device", "class"))
        except (OSError, ValueError):
            continue
        driver = (path / "driver").resolve().name if (path / "driver").exists() else ""
        yield Function(path.name, vendor, device, kind >> 8, driver)


def gpus(sysfs: Path) -> list[Function]:
    """NVIDIA's GPUs."""
    return [one for one in functions(sysfs) if one.vendor == NVIDIA and one.base == DISPLAY]


def rdma_nics(sysfs: Path) -> Iterator[tuple[Function, str]]:
    """NICs that surely can RDMA, with the kernel module that makes them RDMA devices."""
    for one in functions(sysfs):
        if one.base == NETWORK and one.vendor == MELLANOX:
            yield one, "mlx5_ib"
        elif one.base == NETWORK and one.vendor == AMAZON and one.device & 0xFFF0 == 0xEFA0:
            yield one, "efa"
        elif one.kind == INFINIBAND:
            yield one, "ib_core"
