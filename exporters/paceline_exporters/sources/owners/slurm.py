"""The Slurm jobs of this node, from the cgroups that slurmd makes for them; no Slurm command is run.

cgroup/v2: `system.slice/[NODE_]slurmstepd.scope/job_N/step_M`
cgroup/v1: `CONTROLLER/slurm[_NODE]/uid_U/job_N/step_M`
(slurm.schedmd.com/cgroups.html, cgroup_v2.html)
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

CONTROLLERS = ("freezer", "memory", "cpuset", "devices")
"""Of version 1, each of which Slurm may use or not."""


def jobs(sysfs: Path) -> dict[str, str]:
    """Job -> user id, empty where the cgroup does not tell it; of every job that has a step here."""
    root = sysfs / "fs/cgroup"
    try:
        return dict(_jobs(root))
    except OSError:  # a directory that went while it was read; the next sample sees
        return {}


def _jobs(root: Path) -> Iterator[tuple[str, str]]:
    for directory in root.glob("system.slice/*slurmstepd.scope/job_*"):
        if "populated 1" in _events(directory):
            yield directory.name.removeprefix("job_"), ""
    for controller in CONTROLLERS:
        for directory in root.glob(f"{controller}/slurm*/uid_*/job_*"):
            if any(directory.glob("step_*")):  # a job's own directory may be left behind
                yield directory.name.removeprefix("job_"), directory.parent.name.removeprefix("uid_")


def _events(directory: Path) -> str:
    try:
        return (directory / "cgroup.events").read_text()
    except OSError:
        return ""
