"""The families of this source: infos that join by device or by rank, and the counts that go with them."""

from __future__ import annotations

from dataclasses import fields

from ...metrics import Family
from .party import Party

PARTY = tuple(field.name for field in fields(Party))
RANK = ("run_id", "rank")
CONTAINER = ("namespace", "pod", "container")

GPU_OWNER = Family(
    "paceline_gpu_owner_info",
    "Who holds the GPU or MIG instance; of several the first rank whose own it is, else the first.",
    "info",
    "",
    ("uuid", *PARTY, *RANK),
)
GPU_OWNERS = Family(
    "paceline_gpu_owners",
    "Containers, Slurm steps and users that hold the GPU; absent while some cannot be asked about.",
    "gauge",
    "",
    ("uuid",),
)
NIC_OWNER = Family(
    "paceline_nic_owner_info",
    "Which container was given the RDMA device; run and rank where the container has one only.",
    "info",
    "",
    ("device", *PARTY, *RANK),
)
NIC_OWNERS = Family(
    "paceline_nic_owners",
    "Containers that were given the RDMA device; absent without Kubernetes.",
    "gauge",
    "",
    ("device",),
)
RANK_OWNER = Family("paceline_rank_owner_info", "Where the living rank belongs.", "info", "", (*RANK, *PARTY))
RANK_GPU = Family(
    "paceline_rank_gpu_info",
    "The living rank's GPU; of several the one its ring names, else where it holds most memory.",
    "info",
    "",
    (*RANK, "uuid"),
)
RANK_GPUS = Family("paceline_rank_gpus", "GPUs of the living rank; absent where unknown.", "gauge", "", RANK)
RANK_MEMORY = Family(
    "paceline_rank_gpu_memory_bytes",
    "Memory that the rank's processes hold on the GPU.",
    "gauge",
    "bytes",
    (*RANK, "uuid"),
)
FOREIGN_PROCESSES = Family(
    "paceline_gpu_foreign_processes",
    "Processes on the GPU that belong to no rank of this node; absent while a process or a rank is hidden.",
    "gauge",
    "",
    ("uuid",),
)
FOREIGN_MEMORY = Family(
    "paceline_gpu_foreign_memory_bytes", "Memory that these hold on the GPU.", "gauge", "bytes", ("uuid",)
)
FOREIGN = Family(
    "paceline_gpu_foreign_info",
    "Of these the one with most memory.",
    "info",
    "",
    ("uuid", "command", *PARTY),
)
POD_DEVICES = Family(
    "paceline_pod_devices",
    "Devices of a resource, or of a DRA driver, that the kubelet gave to the container.",
    "gauge",
    "",
    (*CONTAINER, "resource"),
)
NODE_DEVICES = Family(
    "paceline_node_devices", "Devices of a resource that the kubelet can give out.", "gauge", "", ("resource",)
)
SLURM_JOB = Family("paceline_slurm_job_info", "A Slurm job on this node.", "info", "", ("slurm_job", "uid"))
KUBELET_UP = Family(
    "paceline_owners_kubelet_up",
    "1 if the kubelet answered last time, else 0; absent without Kubernetes.",
    "gauge",
)
ERRORS = Family(
    "paceline_owners_errors_total",
    "Questions of whose a device is that were not answered, by whom.",
    "counter",
    "",
    ("from", "error"),
)
FAMILIES = (
    *(GPU_OWNER, GPU_OWNERS, NIC_OWNER, NIC_OWNERS, RANK_OWNER, RANK_GPU, RANK_GPUS, RANK_MEMORY),
    *(FOREIGN_PROCESSES, FOREIGN_MEMORY, FOREIGN),
    *(POD_DEVICES, NODE_DEVICES, SLURM_JOB, KUBELET_UP, ERRORS),
)
