"""What a device is: driver, PCI function, network devices, names that its firmware gives."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .tree import Failed, names, target, text

PCI_ADDRESS = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\Z")
# driver of the PCI function -> driver of the RDMA device, where they differ
RDMA_DRIVERS = {
    "mlx4_core": "mlx4",
    "mlx5_core": "mlx5",
    "bnxt_en": "bnxt_re",
    "i40e": "irdma",
    "ice": "irdma",
    "idpf": "irdma",
    "hns3": "hns",
    "cxgb4": "iw_cxgb4",
    "qede": "qedr",
}
SOFTWARE = ("rxe", "siw")
EFA, ENA = "efa", "ena"
"""AWS shows a network card as two functions: EFA has the RDMA device, ENA the network device."""


@dataclass(frozen=True)
class Identity:
    """One device's; what is unknown is empty."""

    driver: str
    """`mlx5`, `bnxt_re`, `irdma`, `efa`, `hns`, `rxe`, ..."""
    pci: str
    netdevs: tuple[str, ...]
    """Of the device's PCI function, sorted; of an EFA, of the ENA of the same card, where that is certain; of a
    software device, the one it stands on."""
    removable: bool
    """A virtual function, a subfunction or a software device: made and unmade by an administrator at will."""
    firmware: str
    board: str
    hca_type: str
    node_guid: str


def identify(path: Path, failed: Failed) -> Identity:
    """The device at /sys/class/infiniband/NAME."""
    parent = text(path / "parent", failed)
    software = bool(parent) or path.name.startswith(SOFTWARE)
    device = None if software else target(path / "device", failed)
    function = None if device is None else _function(device)
    if function is None:
        driver, pci, netdevs = path.name.rstrip("0123456789").rstrip("_"), "", [parent] if parent else []
    else:
        bound = target(function / "driver", failed)
        driver = RDMA_DRIVERS.get(bound.name, bound.name) if bound else path.name.rpartition("_")[0]
        pci = function.name
        netdevs = names(path / "device/net", failed)
        if driver == EFA and not netdevs:
            netdevs = _of_ena(path.parents[2] / "bus/pci/drivers", function, failed)
    return Identity(
        driver=driver.partition("_")[0] if software else driver,
        pci=pci,
        netdevs=tuple(netdevs),
        removable=function is None or device != function or (function / "physfn").is_symlink(),
        firmware=text(path / "fw_ver", failed),
        board=text(path / "board_id", failed),
        hca_type=text(path / "hca_type", failed),
        node_guid=text(path / "node_guid", failed),
    )


def _function(device: Path) -> Path | None:
    """The PCI function that the device belongs to, or (a subfunction) its parent's."""
    return next((level for level in (device, *device.parents) if PCI_ADDRESS.match(level.name)), None)


def _of_ena(drivers: Path, efa: Path, failed: Failed) -> list[str]:
    """The network devices of the ENA function beside an EFA: where each is the only one of its driver below the
    same bridge, else on the machine. `drivers` is /sys/bus/pci/drivers."""
    efas, enas = (_bound(drivers / name, failed) for name in (EFA, ENA))
    for near in ((lambda function: function.parent == efa.parent), (lambda function: True)):
        beside = [function for function in enas if near(function)]
        if len(beside) == len([function for function in efas if near(function)]) == 1:
            return names(beside[0] / "net", failed)
    return []


def _bound(driver: Path, failed: Failed) -> list[Path]:
    """The functions that a driver has."""
    found = (target(driver / name, failed) for name in names(driver, failed) if PCI_ADDRESS.match(name))
    return [function for function in found if function is not None]
