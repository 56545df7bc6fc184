from __future__ import annotations

from pathlib import Path

import pytest
from sysfs_trees import EFA, IRDMA, MLX5_ROCE, RXE, SIW, Story, Tree

from paceline_exporters.sources.rdma.identity import Identity, identify


def identity(tree: Tree, name: str) -> Identity:
    failed: list[Exception] = []
    found = identify(tree.root / "class/infiniband" / name, failed.append)
    assert not failed
    return found


def test_a_card(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.rdma("ibp23s0", MLX5_ROCE, tree.function("pci0000:16", "0000:17:00.0"), netdev="eth0")
    found = identity(tree, "ibp23s0")
    assert (found.driver, found.pci, found.netdevs, found.removable) == ("mlx5", "0000:17:00.0", ("eth0",), False)
    assert (found.firmware, found.board, found.hca_type) == ("28.39.1002", "MT_0000000838", "MT4129")


def test_the_driver_is_the_rdma_one(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.rdma("rocep24s0f0", IRDMA, tree.function("pci0000:16", "0000:18:00.0"))
    assert identity(tree, "rocep24s0f0").driver == "irdma"


def test_a_virtual_function_is_removable(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    virtual = tree.virtual_function(tree.function("pci0000:16", "0000:17:00.0"), "0000:17:00.2")
    tree.rdma("mlx5_1", MLX5_ROCE, virtual)
    found = identity(tree, "mlx5_1")
    assert (found.pci, found.removable) == ("0000:17:00.2", True)


def test_a_subfunction_belongs_to_its_parent(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    card = tree.function("pci0000:16", "0000:17:00.0", driver="mlx5_core")
    sub = card / "mlx5_core.sf.2"
    sub.mkdir()
    tree.rdma("mlx5_3", MLX5_ROCE, sub)
    found = identity(tree, "mlx5_3")
    assert (found.driver, found.pci, found.removable) == ("mlx5", "0000:17:00.0", True)


def test_each_efa_has_the_ena_of_its_card(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    for number, bus in enumerate((0x10, 0x20)):
        bridge = tree.bridge("pci0000:00", f"0000:00:0{number + 1}.0")
        tree.ena(bridge, f"0000:{bus:02x}:1a.0", f"ens{number}")
        tree.rdma(f"rdmap{bus}s27", EFA, tree.function(bridge, f"0000:{bus:02x}:1b.0"))
    assert [identity(tree, f"rdmap{bus}s27").netdevs for bus in (0x10, 0x20)] == [("ens0",), ("ens1",)]


def test_one_efa_and_one_ena_belong_together_wherever_they_are(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.ena("pci0000:00", "0000:00:05.0", "ens5")
    tree.rdma("rdmap16s0", EFA, tree.function(tree.bridge("pci0000:10", "0000:10:01.0"), "0000:11:00.0"))
    assert identity(tree, "rdmap16s0").netdevs == ("ens5",)


def test_what_is_ambiguous_is_left_open(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.ena("pci0000:00", "0000:00:05.0", "ens5")
    for slot in (6, 7):
        tree.rdma(f"rdmap0s{slot}", EFA, tree.function("pci0000:00", f"0000:00:{slot:02x}.0"))
    assert [identity(tree, f"rdmap0s{slot}").netdevs for slot in (6, 7)] == [(), ()]


@pytest.mark.parametrize(
    ("name", "story", "driver"), [("rxe_eth0", RXE, "rxe"), ("rxe0", RXE, "rxe"), ("siw0", SIW, "siw")]
)
def test_a_software_device_has_no_function_of_its_own(
    tmp_path: Path, name: str, story: Story, driver: str
) -> None:
    """Older kernels show the network device's function as its parent."""
    tree = Tree(tmp_path)
    card = tree.function("pci0000:16", "0000:17:00.0", driver="mlx5_core")
    tree.netdev("eth0", card)
    device = tree.rdma(name, story, netdev="eth0")
    (device.path / "device").symlink_to(card)
    found = identity(tree, name)
    assert (found.driver, found.pci, found.netdevs, found.removable) == (driver, "", ("eth0",), True)
