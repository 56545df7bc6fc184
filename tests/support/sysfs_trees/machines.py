"""Whole machines."""

from __future__ import annotations

from pathlib import Path

from .rdma import RdmaDevice, Story
from .stories import MLX5_INFINIBAND, MLX5_ROCE
from .tree import Tree

# First bus of each PCIe switch: one GPU and its NIC below it, as on an 8-GPU HGX board.
SWITCHES = (0x15, 0x3D, 0x4C, 0x5D, 0x97, 0xBD, 0xCB, 0xDB)
# First bus of each root port with a NIC for storage or management.
MANAGEMENT = (0x29, 0xA9)


def dgx(root: Path, story: Story = MLX5_INFINIBAND) -> tuple[Tree, list[RdmaDevice]]:
    """Eight GPUs, each with a compute NIC behind the same PCIe switch (`mlx5_0` to `mlx5_7`), and two Ethernet
    NICs that share a switch with none (`mlx5_8`, `mlx5_9`); four of the eight on each of two NUMA nodes."""
    tree = Tree(root)
    devices = [_rail(tree, number, bus, story) for number, bus in enumerate(SWITCHES)]
    for number, bus in enumerate(MANAGEMENT):
        numa_node = number
        port = tree.bridge(f"pci0000:{bus:02x}", f"0000:{bus:02x}:01.0", numa_node)
        function = tree.function(port, f"0000:{bus + 1:02x}:00.0", pci_class=0x020000, numa_node=numa_node)
        name, seed = f"mlx5_{8 + number}", 9 + number
        devices.append(tree.rdma(name, MLX5_ROCE, function, netdev=f"ens{8 + number}np0", seed=seed))
    return tree, devices


def many_ports(root: Path, count: int, story: Story = MLX5_INFINIBAND) -> tuple[Tree, list[RdmaDevice]]:
    """A machine with so many single-port NICs, each behind a root port of its own."""
    tree = Tree(root)
    devices = []
    for number in range(count):
        bus = 0x10 + 2 * number
        bridge = tree.bridge(f"pci0000:{bus:02x}", f"0000:{bus:02x}:01.0", number % 2)
        function = tree.function(bridge, f"0000:{bus + 1:02x}:00.0", numa_node=number % 2)
        netdev = f"eth{number}" if story.link_layer == "Ethernet" else f"ib{number}"
        seed = number % 10 + 1
        devices.append(tree.rdma(f"mlx5_{number}", story, function, netdev=netdev, seed=seed))
    return tree, devices


def _rail(tree: Tree, number: int, bus: int, story: Story) -> RdmaDevice:
    numa_node = number // 4
    root_port = tree.bridge(f"pci0000:{bus:02x}", f"0000:{bus:02x}:01.0", numa_node)
    upstream = tree.bridge(root_port, f"0000:{bus + 1:02x}:00.0", numa_node)
    to_gpu = tree.bridge(upstream, f"0000:{bus + 2:02x}:00.0", numa_node)
    to_nic = tree.bridge(upstream, f"0000:{bus + 2:02x}:01.0", numa_node)
    tree.gpu(to_gpu, f"0000:{bus + 3:02x}:00.0", numa_node)
    function = tree.function(to_nic, f"0000:{bus + 4:02x}:00.0", numa_node=numa_node)
    netdev = f"ib{number}" if story.link_layer == "InfiniBand" else f"gpu{number}rdma0"
    return tree.rdma(f"mlx5_{number}", story, function, netdev=netdev, seed=number + 1)
