"""Whose each device is: GPU, RDMA device, rank, run, pod and Slurm job, joined in one scrape.

The names stand on info series of value 1, of which there is at most one per device and per rank, so that they
join; `instance` keeps nodes apart, and agents that see the same device:

    # power by pod and rank
    paceline_gpu_power_watts * on (instance, uuid) group_left (pod, rank) paceline_gpu_owner_info
    # what goes through each RDMA device, by pod
    rate(paceline_rdma_port_transmit_bytes_total[5m])
      * on (instance, device) group_left (pod) paceline_nic_owner_info
    # from a rank's steps to its GPU
    paceline_step_loss * on (instance, run_id, rank) group_left (uuid) paceline_rank_gpu_info
    # GPUs that nobody holds; GPUs that several share
    paceline_gpu_owners == 0
    paceline_gpu_owners > 1

A shared device (MPS, time slicing, several processes) has one series too: the first rank, by run and number,
whose own GPU it is, else the first that is on it, else the first party by namespace, pod, container, Slurm job,
step and user. Its `..._owners` counts all parties. A divided GPU (MIG) is owned by the owners of its instances.
All ranks with memory on a GPU stand in `paceline_rank_gpu_memory_bytes`.

What can be known, and from where:

- A device's pod and container: the kubelet's pod-resources API, by the device's id. It names pods, not processes.
- A process's container: its cgroup. The container's pod: the names in /var/log/containers where they can be
  listed, else the one pod that was given the GPU on which the process computes. With neither it stays unnamed.
- The shared RDMA device plugin gives pods ordinals: which pod has RDMA is known (`paceline_pod_devices`), not by
  which device. A plugin that gives out PCI functions or device names tells that as well.
- A rank whose process is hidden (a PID namespace of its own) is placed by the GPU that its ring names, and, in a
  sidecar, by PACELINE_POD_NAMESPACE and PACELINE_POD_NAME.
- A Slurm job and step: the cgroup, else the environment of the process. No Slurm command is run.
"""

from __future__ import annotations

from .source import OwnersSource, create

__all__ = ["OwnersSource", "create"]
