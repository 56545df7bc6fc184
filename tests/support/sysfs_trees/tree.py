"""The root of a tree: the PCI hierarchy, network devices, RDMA devices."""

from __future__ import annotations

from pathlib import Path

from .files import link, write_all
from .rdma import RdmaDevice, Story

BRIDGE_CLASS = 0x060400
GPU_CLASS = 0x030200
ETHERNET_CLASS = 0x020000
NVIDIA = 0x10DE
MELLANOX = 0x15B3
AMAZON, ENA_DEVICE = 0x1D0F, 0xEC20


class Tree:
    """A sysfs to be read at `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for directory in ("class/infiniband", "class/net", "bus/pci/devices", "bus/pci/drivers", "devices"):
            (root / directory).mkdir(parents=True, exist_ok=True)

    def function(
        self,
        parent: Path | str,
        address: str,
        *,
        vendor: int = MELLANOX,
        device: int = 0x1021,
        pci_class: int = 0x020700,
        numa_node: int = 0,
        driver: str | None = None,
    ) -> Path:
        """A PCI function behind a host bridge (`pci0000:15`) or another function; its directory."""
        above = self.root / "devices" / parent if isinstance(parent, str) else parent
        path = above / address
        identity = {"vendor": f"{vendor:#06x}", "device": f"{device:#06x}", "class": f"{pci_class:#08x}"}
        write_all(path, {**identity, "numa_node": numa_node, "uevent": f"PCI_SLOT_NAME={address}"})
        link(self.root / "bus/pci/devices" / address, path)
        link(path / "subsystem", self.root / "bus/pci")
        if driver is not None:
            self.bind(path, driver)
        return path

    def bind(self, function: Path, driver: str) -> None:
        """Give a function to a driver."""
        drivers = self.root / "bus/pci/drivers" / driver
        drivers.mkdir(exist_ok=True)
        link(function / "driver", drivers)
        link(drivers / function.name, function)

    def ena(self, parent: Path | str, address: str, name: str, *, up: bool = True) -> Path:
        """The function with the network device of an AWS card; its EFA, where it has one, is another function."""
        function = self.function(
            parent, address, vendor=AMAZON, device=ENA_DEVICE, pci_class=ETHERNET_CLASS, driver="ena"
        )
        self.netdev(name, function, up=up)
        return function

    def bridge(self, parent: Path | str, address: str, numa_node: int = 0) -> Path:
        """A root port, or a port of a PCIe switch."""
        return self.function(
            parent,
            address,
            vendor=0x1000,
            device=0xC030,
            pci_class=BRIDGE_CLASS,
            numa_node=numa_node,
            driver="pcieport",
        )

    def gpu(self, parent: Path | str, address: str, numa_node: int = 0) -> Path:
        """A GPU (H100 SXM5)."""
        return self.function(
            parent,
            address,
            vendor=NVIDIA,
            device=0x2330,
            pci_class=GPU_CLASS,
            numa_node=numa_node,
            driver="nvidia",
        )

    def virtual_function(self, physical: Path, address: str) -> Path:
        """An SR-IOV function of the same card, beside it."""
        numa_node = int((physical / "numa_node").read_text())
        path = self.function(physical.parent, address, device=0x101E, numa_node=numa_node, driver="mlx5_core")
        number = len(list(physical.glob("virtfn*")))
        link(path / "physfn", physical)
        link(physical / f"virtfn{number}", path)
        return path

    def netdev(self, name: str, function: Path | None, *, up: bool = True, infiniband: bool = False) -> Path:
        """A network device of a function, or a virtual one."""
        home = self.root / "devices/virtual" if function is None else function
        path = home / "net" / name
        values: dict[str, object] = {
            "operstate": "up" if up else "down",
            "carrier": int(up),
            "mtu": 4092 if infiniband else 9000,
            "type": 32 if infiniband else 1,
            "speed": 400000,
            "dev_port": 0,
            "address": "02:00:00:00:00:01",
        }
        write_all(path, values)
        if function is not None:
            link(path / "device", function)
        link(self.root / "class/net" / name, path)
        return path

    def rdma(
        self,
        name: str,
        story: Story,
        function: Path | None = None,
        *,
        netdev: str | None = None,
        seed: int = 1,
    ) -> RdmaDevice:
        """An RDMA device of a PCI function, or a software one, with a network device where one is named: of the
        same function, or for an EFA of an ENA in the slot beside it."""
        if netdev is not None and function is not None and story.driver == "efa":
            self.ena(function.parent, _slot_beside(function.name), netdev)
        if netdev is not None and not (self.root / "class/net" / netdev).exists():
            self.netdev(netdev, function, infiniband=story.link_layer == "InfiniBand")
        if function is not None and not (function / "driver").exists():
            self.bind(function, story.driver)
        return RdmaDevice(self.root, name, story, function, netdev, seed)


def _slot_beside(address: str) -> str:
    head, _, tail = address.rpartition(":")
    return f"{head}:{int(tail[:2], 16) ^ 1:02x}{tail[2:]}"
