"""Matrices as `nvidia-smi topo -m` printed them, on trees of that shape."""

from __future__ import annotations

from pathlib import Path

import pytest
from sysfs_trees import Tree, dgx

from paceline_exporters.sources.rails.pci import Function, PciTree, closeness

Matrix = dict[str, list[str]]


class Switch:
    """A PCIe switch: functions and further switches, each below a port of its own."""

    def __init__(self, tree: Tree, above: Path, bus: int, numa_node: int) -> None:
        self._tree, self._bus, self._numa_node, self._ports = tree, bus, numa_node, 0
        self._upstream = tree.bridge(above, f"0000:{bus:02x}:00.0", numa_node)

    def port(self) -> Path:
        """One more downstream port."""
        self._ports += 1
        return self._tree.bridge(self._upstream, f"0000:{self._bus + 1:02x}:{self._ports:02x}.0", self._numa_node)

    def gpu(self, bus: int) -> str:
        """The new GPU's address."""
        return self._tree.gpu(self.port(), f"0000:{bus:02x}:00.0", self._numa_node).name

    def nic(self, bus: int) -> str:
        """The new NIC's address."""
        return self._tree.function(self.port(), f"0000:{bus:02x}:00.0", numa_node=self._numa_node).name


def root_port(tree: Tree, bus: int, numa_node: int) -> Path:
    """Below a host bridge of its own."""
    return tree.bridge(f"pci0000:{bus:02x}", f"0000:{bus:02x}:01.0", numa_node)


def matrix(tree: Tree, gpus: list[str], nics: list[str]) -> Matrix:
    functions = PciTree(tree.root)

    def at(address: str) -> Function:
        function = functions.function(address)
        assert function is not None
        return function

    return {f"GPU{number}": [closeness(at(gpu), at(nic)) for nic in nics] for number, gpu in enumerate(gpus)}


def test_hgx_2(tmp_path: Path) -> None:
    """16 V100 of which the first 8 are built here, github.com/NVIDIA/nccl-tests/issues/78: pairs of GPUs share a
    switch with a NIC, two such switches hang below a third."""
    tree = Tree(tmp_path)
    gpus, nics = [], []
    for host, numa_node in ((0x10, 0), (0x40, 0), (0x80, 1)):
        top = Switch(tree, root_port(tree, host, numa_node), host + 1, numa_node)
        for half in range(2):
            below = Switch(tree, top.port(), host + 3 + 8 * half, numa_node)
            gpus += [below.gpu(host + 5 + 8 * half + number) for number in range(2)]
            nics.append(below.nic(host + 8 + 8 * half))
    first = ["PIX", "PXB", "NODE", "NODE", "SYS", "SYS"]
    second = ["PXB", "PIX", "NODE", "NODE", "SYS", "SYS"]
    found = matrix(tree, gpus, nics)
    assert found["GPU0"] == found["GPU1"] == first
    assert found["GPU2"] == found["GPU3"] == second
    assert found["GPU4"] == ["NODE", "NODE", "PIX", "PXB", "SYS", "SYS"]


def test_hgx_a100_of_a_cloud(tmp_path: Path) -> None:
    """8 A100 and 9 NICs, github.com/NVIDIA/nccl/issues/933: a switch per GPU and NIC, and a NIC by itself."""
    tree = Tree(tmp_path)
    alone = tree.function(root_port(tree, 0x08, 0), "0000:09:00.0", numa_node=0).name
    gpus, near = [], []
    for number in range(8):
        bus = 0x10 + 0x10 * number
        switch = Switch(tree, root_port(tree, bus, number // 4), bus + 1, number // 4)
        gpus.append(switch.gpu(bus + 3))
        near.append(switch.nic(bus + 4))
    order = (4, 0, 5, 1, 6, 2, 7, 3)
    found = matrix(tree, gpus, [alone, *(near[number] for number in order)])
    published = {
        "GPU0": "NODE    SYS     PIX     SYS     NODE    SYS     NODE    SYS     NODE",
        "GPU1": "NODE    SYS     NODE    SYS     PIX     SYS     NODE    SYS     NODE",
        "GPU2": "NODE    SYS     NODE    SYS     NODE    SYS     PIX     SYS     NODE",
        "GPU3": "NODE    SYS     NODE    SYS     NODE    SYS     NODE    SYS     PIX",
        "GPU4": "SYS     PIX     SYS     NODE    SYS     NODE    SYS     NODE    SYS",
        "GPU5": "SYS     NODE    SYS     PIX     SYS     NODE    SYS     NODE    SYS",
        "GPU6": "SYS     NODE    SYS     NODE    SYS     PIX     SYS     NODE    SYS",
    }
    assert {name: row.split() for name, row in published.items()} == {
        name: row for name, row in found.items() if name != "GPU7"
    }


def test_dgx(tmp_path: Path) -> None:
    tree, _ = dgx(tmp_path)
    functions = PciTree(tree.root)
    gpus = list(functions.gpus())
    assert len(gpus) == 8
    nics = [(tree.root / "class/infiniband" / f"mlx5_{number}/device").resolve().name for number in range(10)]
    for number, row in enumerate(matrix(tree, gpus, nics).values()):
        for other, path in enumerate(row):
            node = other // 4 if other < 8 else other - 8
            assert path == ("PIX" if other == number else "NODE" if node == number // 4 else "SYS")


def test_root_ports_of_one_host_bridge(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    gpu = tree.gpu(tree.bridge("pci0000:00", "0000:00:01.0"), "0000:01:00.0").name
    nic = tree.function(tree.bridge("pci0000:00", "0000:00:02.0"), "0000:02:00.0").name
    assert matrix(tree, [gpu], [nic]) == {"GPU0": ["PHB"]}


def test_two_functions_of_one_card(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    port = root_port(tree, 0x10, 0)
    first = tree.function(port, "0000:11:00.0").name
    second = tree.function(port, "0000:11:00.1").name
    assert matrix(tree, [first], [second]) == {"GPU0": ["PIX"]}


@pytest.mark.parametrize(("nodes", "path"), [(1, "NODE"), (2, "SYS")])
def test_an_unknown_numa_node(tmp_path: Path, nodes: int, path: str) -> None:
    """Firmware of machines with one node often leaves it out; with two, nothing can be said."""
    tree = Tree(tmp_path)
    for number in range(nodes):
        (tmp_path / f"devices/system/node/node{number}").mkdir(parents=True)
    tree.gpu(root_port(tree, 0x10, -1), "0000:11:00.0", -1)
    tree.function(root_port(tree, 0x20, -1), "0000:21:00.0", numa_node=-1)
    functions = PciTree(tmp_path)
    gpu, nic = functions.function("0000:11:00.0"), functions.function("0000:21:00.0")
    assert gpu is not None
    assert nic is not None
    assert gpu.numa_node is None
    assert closeness(gpu, nic, functions.one_node()) == path


def test_what_is_not_there(tmp_path: Path) -> None:
    assert PciTree(tmp_path).function("0000:01:00.0") is None
    assert list(PciTree(tmp_path).gpus()) == []
