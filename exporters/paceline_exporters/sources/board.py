"""What sources tell each other: who is where on this node, so that one scrape joins GPU, NIC, rank, run and pod.

Each field has one writer, which replaces the whole tuple; a reader takes it once and has a consistent view.
`None` means that the writer has not looked yet, or cannot; an empty tuple means that there is nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a MIG instance of one, as NVML lists it."""

    uuid: str
    """`GPU-...`, or `MIG-...` for an instance."""
    index: int
    """NVML's index; of an instance, its parent's."""
    pci: str
    """PCI address as sysfs writes it: `0000:3b:00.0`; of an instance, its parent's."""
    parent: str = ""
    """UUID of the GPU that a MIG instance is part of; empty for a whole GPU."""


@dataclass(frozen=True)
class GpuProcess:
    """A process that computes on a GPU."""

    uuid: str
    pid: int
    """In the PID namespace of the agent's procfs."""
    memory_bytes: int | None
    """None where the driver does not say."""


@dataclass(frozen=True)
class Port:
    """A port of an RDMA device."""

    device: str
    """As under /sys/class/infiniband: `mlx5_0`."""
    port: str
    pci: str
    """PCI address of the function, as sysfs writes it; empty for software devices (rxe, siw)."""
    netdevs: tuple[str, ...]
    """Network devices of the same function; of an EFA, of the ENA beside it."""
    link_layer: str
    """`InfiniBand` or `Ethernet`, empty where unknown."""


@dataclass(frozen=True)
class Seat:
    """A rank of a run on this node that lives."""

    run_id: str
    rank: str
    pid: int | None
    """In the agent's PID namespace; None where the rank's process is not visible from it."""
    gpu_uuid: str
    """As the rank itself wrote it; empty where unknown."""


@dataclass
class Board:
    """The latest of each."""

    gpus: tuple[Gpu, ...] | None = None
    """Written by the gpu source."""
    gpu_processes: tuple[GpuProcess, ...] | None = None
    """Written by the gpu source."""
    ports: tuple[Port, ...] | None = None
    """Written by the rdma source."""
    seats: tuple[Seat, ...] | None = None
    """Written by the steps source."""
