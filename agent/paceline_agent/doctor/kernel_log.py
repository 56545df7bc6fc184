"""The kernel log, where the driver tells of XIDs even when NVML does not answer any more."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from paceline_exporters.sources.gpu.kernel_log import KernelLog

from .finding import Finding, count
from .visit import Visit

SUBJECT = "kernel log"


def examine(visit: Visit) -> Iterator[Finding]:
    """Read it as the gpu source does."""
    if not visit.has_gpus:
        yield Finding(SUBJECT, "absent", "not needed: no NVIDIA GPU is here whose XIDs it would tell")
        return
    path = visit.world.rootfs / "dev" / "kmsg"
    log = KernelLog(path)
    records = len(log.read())
    log.close()
    if log.problem is None:
        yield Finding(SUBJECT, "ok", f"{path}: {count(records, 'record')}")
        return
    why, fix = _cause(visit, path)
    yield Finding(SUBJECT, "limited", f"{path} not readable; XIDs from NVML only, none once it hangs", why, fix)


def _cause(visit: Visit, path: Path) -> tuple[str, str]:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except FileNotFoundError:
        return "it is not there", visit.place.fix(
            "mknod /dev/kmsg c 1 11",
            "start the container with --device /dev/kmsg --cap-add SYSLOG",
            "mount hostPath /dev/kmsg; securityContext: {privileged: true}",
        )
    except OSError as error:
        return _refusal(visit, path, error)
    return "reading it fails", visit.place.grant("SYSLOG")


def _refusal(visit: Visit, path: Path, error: OSError) -> tuple[str, str]:
    """EACCES is the file's mode; EPERM the kernel, or a container's device rules."""
    if error.errno == errno.EACCES:
        mode = stat.S_IMODE(path.stat().st_mode)
        return f"its mode is {mode:04o}, and {visit.place.user} is not its owner", f"chmod a+r {path}"
    if "SYSLOG" not in visit.place.capabilities and _restricted(visit.world.procfs):
        why = f"kernel.dmesg_restrict is 1, and {visit.place.user} has no CAP_SYSLOG"
        return why, visit.place.grant("SYSLOG")
    why = f"{(error.strerror or str(error)).lower()}: a device rule forbids it"
    return why, visit.place.fix(
        "systemctl edit paceline-agent: DeviceAllow=/dev/kmsg r, PrivateDevices=no, ProtectKernelLogs=no",
        "start the container with --device /dev/kmsg --cap-add SYSLOG",
        "securityContext: {privileged: true}",
    )


def _restricted(procfs: Path) -> bool:
    try:
        return (procfs / "sys" / "kernel" / "dmesg_restrict").read_text().strip() != "0"
    except OSError:
        return True  # a container may hide it; the kernel's own default is to restrict
