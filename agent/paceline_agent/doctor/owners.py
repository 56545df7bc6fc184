"""Whose a device is: the kubelet, which knows what it gave to which pod, and Slurm's control groups."""

from __future__ import annotations

from collections.abc import Iterator

from paceline_exporters.sources.owners import containers
from paceline_exporters.sources.owners.errors import REASONS
from paceline_exporters.sources.owners.families import ERRORS, KUBELET_UP, NODE_DEVICES, POD_DEVICES, SLURM_JOB
from paceline_exporters.sources.owners.kubelet import ASKED, SOCKET

from .finding import Finding, count
from .sampling import Sampled
from .visit import Visit


def examine(visit: Visit) -> Iterator[Finding]:
    """What the source was told."""
    sampled = visit.sampled["owners"]
    yield _kubelet(visit, sampled)
    yield from _containers(visit, sampled)
    yield _slurm(visit, sampled)


def _kubelet(visit: Visit, sampled: Sampled) -> Finding:
    up = sampled.one(KUBELET_UP)
    socket = visit.world.rootfs / SOCKET
    if up:
        pods = {labels[:2] for labels in sampled.of(POD_DEVICES)}
        devices = sum(sampled.of(NODE_DEVICES).values())
        return Finding(
            "kubelet", "ok", f"it answers: {count(len(pods), 'pod')} with devices, of {devices:.0f} there"
        )
    if up is not None:
        reasons = [reason for (asked, reason), number in sampled.of(ERRORS).items() if asked == ASKED and number]
        reason = reasons[0] if reasons else "io"
        return Finding("kubelet", "limited", f"no answer through {socket}", reason, REASONS[reason])
    if visit.place.kind != "pod" or not (visit.has_gpus or visit.world.board.ports):
        return Finding("kubelet", "absent", f"not a Kubernetes node: no {socket.parent}")
    why = "in a pod, but the kubelet's directory is not mounted: no device can be matched with its pod"
    fix = f"mount hostPath /{SOCKET.rpartition('/')[0]} at {socket.parent}"
    return Finding("kubelet", "limited", f"no {socket.parent}", why, fix)


def _containers(visit: Visit, sampled: Sampled) -> Iterator[Finding]:
    directory = visit.world.rootfs / containers.DIRECTORY
    for reason in (
        why for (asked, why), number in sampled.of(ERRORS).items() if asked == containers.ASKED and number
    ):
        why = f"{reason}: processes on GPUs are matched with a pod only where one pod was given the GPU"
        yield Finding(
            "containers", "limited", f"names in {directory} not readable", why, f"chmod a+rx {directory}"
        )


def _slurm(visit: Visit, sampled: Sampled) -> Finding:
    jobs = len(sampled.of(SLURM_JOB))
    if jobs:
        return Finding("Slurm", "ok", f"{count(jobs, 'job')} on this node")
    if visit.place.kind != "Slurm job":
        return Finding("Slurm", "absent", "no job of Slurm's on this node")
    why = f"no control group of it below {visit.world.sysfs}/fs/cgroup: devices cannot be matched with jobs"
    return Finding("Slurm", "limited", "this job is not seen", why, "slurm.conf: ProctrackType=proctrack/cgroup")
