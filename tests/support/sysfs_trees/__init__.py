"""Sysfs trees per hardware story: what /sys looks like on machines with RDMA devices, as plain files.

    tree = Tree(tmp_path)
    port = tree.rdma("mlx5_0", MLX5_INFINIBAND, tree.function("pci0000:15", "0000:16:00.0"))
    port.set("counters/port_xmit_data", 7)

Plain files differ from sysfs in one way that matters: a descriptor of a removed file stays readable here, and
gives ENODEV there.
"""

from .machines import dgx, many_ports
from .rdma import RdmaDevice, Story
from .stories import (
    BNXT_RE,
    EFA,
    HFI1,
    HNS,
    IRDMA,
    MLX5_INFINIBAND,
    MLX5_ROCE,
    MLX5_SWITCHDEV,
    MLX5_VIRTUAL_FUNCTION,
    NO_PMA,
    OLD_KERNEL,
    RXE,
    SIW,
)
from .tree import Tree

__all__ = [
    "BNXT_RE",
    "EFA",
    "HFI1",
    "HNS",
    "IRDMA",
    "MLX5_INFINIBAND",
    "MLX5_ROCE",
    "MLX5_SWITCHDEV",
    "MLX5_VIRTUAL_FUNCTION",
    "NO_PMA",
    "OLD_KERNEL",
    "RXE",
    "SIW",
    "RdmaDevice",
    "Story",
    "Tree",
    "dgx",
    "many_ports",
]
