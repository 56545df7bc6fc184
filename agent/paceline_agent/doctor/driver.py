"""NVIDIA's driver from below: what NVML needs of it, looked at in the order in which it is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .visit import Visit

LIBRARY = "libnvidia-ml.so.1"
LOAD_SECONDS = 2.0
_LOAD = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"


@dataclass(frozen=True)
class Cause:
    """Why there is no driver to talk to, and what helps."""

    why: str
    fix: str


def cause(visit: Visit) -> Cause | None:
    """The first thing that is missing; None where all is in place."""
    return next((found for look in _LOOKS if (found := look(visit)) is not None), None)


def version(procfs: Path) -> str:
    """Of the loaded kernel module, empty where there is none (/proc/driver/nvidia/version, its first line)."""
    try:
        words = (procfs / "driver" / "nvidia" / "version").read_text().splitlines()[0].split()
    except (OSError, IndexError):
        return ""
    return next((word for word in words if word[0].isdigit() and "." in word), "")


def _module(visit: Visit) -> Cause | None:
    if version(visit.world.procfs):
        return None
    missing = f"the kernel module nvidia is not loaded: no {visit.world.procfs}/driver/nvidia/version"
    return Cause(missing, visit.place.fix("modprobe nvidia", "on the host: modprobe nvidia"))


def _nodes(visit: Visit) -> Cause | None:
    nodes = [visit.devices / "nvidiactl", *sorted(visit.devices.glob("nvidia[0-9]*"))]
    if not nodes[0].exists() or len(nodes) == 1:
        return Cause(f"no {nodes[0]} and {visit.devices}/nvidia0", _hand_in(visit, "nvidia-modprobe -c 0 -u"))
    closed = [str(node) for node in nodes if not os.access(node, os.R_OK | os.W_OK)]
    if not closed:
        return None
    fix = visit.place.fix(f"chmod a+rw {' '.join(closed)}", f"on the host: chmod a+rw {' '.join(closed)}")
    return Cause(f"{visit.place.user} may not read and write {closed[0]}", fix)


def _library(visit: Visit) -> Cause | None:
    """Loaded by a process of its own: what loads it may hang with it."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _LOAD, LIBRARY],
            capture_output=True,
            text=True,
            timeout=LOAD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Cause(f"loading {LIBRARY} hangs", "dmesg | grep -i -e nvrm -e xid; then reboot")
    if done.returncode == 0:
        return None
    said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1].removeprefix("OSError: ")
    return Cause(
        f"{said}: NVML is not installed here", _hand_in(visit, "install the driver's package libnvidia-compute")
    )


def _hand_in(visit: Visit, host: str) -> str:
    """How a container gets what the host has."""
    return visit.place.fix(
        host,
        "start the container with --gpus all (NVIDIA_DRIVER_CAPABILITIES=utility)",
        "runtimeClassName: nvidia, env NVIDIA_VISIBLE_DEVICES=all, NVIDIA_DRIVER_CAPABILITIES=utility",
    )


_LOOKS: tuple[Callable[[Visit], Cause | None], ...] = (_module, _nodes, _library)
