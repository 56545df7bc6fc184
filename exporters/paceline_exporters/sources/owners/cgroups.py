"""Where a process runs, from the paths in its /proc/PID/cgroup.

Seen through another cgroup namespace a path begins with `/..` and lacks its upper part, so that a pod is known by
`podUID` and a container by its 64 digits, not by `kubepods`. Layouts: kubelet with the systemd and the cgroupfs
driver, containerd, CRI-O, Docker, Podman; Slurm's plugins cgroup/v1 and cgroup/v2
(slurm.schedmd.com/cgroup_v2.html).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# A UUID, with underscores under the systemd driver; of a static pod, the hash of its manifest.
_POD = re.compile(r"\bpod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?![0-9a-f])")
_CONTAINER = re.compile(r"[/:-]([0-9a-f]{64})(?:\.scope)?(?=/|$)", re.MULTILINE)
_SLURM = re.compile(r"slurm[^/\n]*(?:/uid_\d+)?/job_([^/\n]+)(?:/step_([^/\n]+))?")


@dataclass(frozen=True)
class Place:
    """What a process's cgroup says; empty where it says nothing."""

    pod_uid: str = ""
    container_id: str = ""
    """64 hexadecimal digits."""
    slurm_job: str = ""
    slurm_step: str = ""


def parse(text: str) -> Place:
    """The place from the lines of /proc/PID/cgroup, of version 1, 2 or both."""
    pod = _POD.search(text)
    # The outermost container is the one that the node's runtime knows; under a node that is a container itself,
    # that is the first one within the pod.
    container = _CONTAINER.search(text, pod.end() if pod else 0)
    slurm = _SLURM.search(text)
    return Place(
        pod[1].replace("_", "-") if pod else "",
        container[1] if container else "",
        slurm[1] if slurm else "",
        (slurm[2] or "") if slurm else "",
    )
