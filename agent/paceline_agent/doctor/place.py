"""Where this process runs, and as whom: how a permission is given depends on it."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["host", "container", "pod", "Slurm job"]

PID_NAMESPACE = "pid:[4026531836]"
"""The host's own: PROC_PID_INIT_INO of include/linux/proc_ns.h."""
CONTAINER_MARKS = (".dockerenv", "run/.containerenv")
CAPABILITIES = {"DAC_READ_SEARCH": 2, "SYS_PTRACE": 19, "SYS_ADMIN": 21, "SYSLOG": 34}
"""Name -> bit (include/uapi/linux/capability.h)."""


@dataclass(frozen=True)
class Place:
    """This process's surroundings."""

    kind: Kind
    user: str
    uid: int
    groups: frozenset[int]
    capabilities: frozenset[str]
    """Of CAPABILITIES, those in effect."""
    host_processes: bool
    """Whether it is in the host's PID namespace."""

    def fix(self, host: str, container: str = "", pod: str = "") -> str:
        """What fits this place; without words of its own a container is told what a host is."""
        if self.kind == "pod":
            return pod or container or host
        if self.kind == "container":
            return container or host
        return host

    def grant(self, capability: str) -> str:
        """How the agent gets a capability here."""
        return self.fix(
            f"systemctl edit paceline-agent: AmbientCapabilities=CAP_{capability} "
            f"CapabilityBoundingSet=CAP_{capability}",
            f"start the container with --cap-add {capability}",
            f"securityContext: {{capabilities: {{add: [{capability}]}}}}",
        )

    def __str__(self) -> str:
        return f"{self.user}, {'on the host' if self.kind == 'host' else f'in a {self.kind}'}"


def here(procfs: Path = Path("/proc"), root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> Place:
    """The place of this process. Raises OSError where /proc is not one."""
    host_processes = (procfs / "self" / "ns" / "pid").readlink().name == PID_NAMESPACE
    return Place(
        _kind(host_processes, root, environ),
        _user(os.geteuid()),
        os.geteuid(),
        frozenset((*os.getgroups(), os.getegid())),
        _capabilities((procfs / "self" / "status").read_text()),
        host_processes,
    )


def _kind(host_processes: bool, root: Path, environ: Mapping[str, str]) -> Kind:
    if "KUBERNETES_SERVICE_HOST" in environ:
        return "pod"
    marked = "container" in environ or any((root / mark).exists() for mark in CONTAINER_MARKS)
    if marked or not host_processes:
        return "container"
    return "Slurm job" if "SLURM_JOB_ID" in environ else "host"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # an image need not name the user it runs as
        return f"user {uid}"


def _capabilities(status: str) -> frozenset[str]:
    [effective] = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")]
    return frozenset(name for name, bit in CAPABILITIES.items() if effective >> bit & 1)
