"""RDMA devices: are those that the hardware offers there, and does every file of theirs answer."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from paceline_exporters.sources.rdma.device import READ_ERRORS
from paceline_exporters.sources.rdma.port import LINK
from paceline_exporters.sources.rdma.source import TIMED_OUT

from . import pci
from .finding import Finding, count
from .visit import Visit

SUBJECT = "rdma"
FILES = ("state", "phys_state", "rate", "counters/*", "hw_counters/*")
"""Of a port, what the source reads."""


def examine(visit: Visit) -> Iterator[Finding]:
    """What the source found, and why it did not find more."""
    sampled = visit.sampled["rdma"]
    ports = visit.world.board.ports or ()
    errors = {labels for labels, number in sampled.of(READ_ERRORS).items() if number}
    if not ports and not errors:
        yield _nothing(visit)
        return
    devices = {port.device for port in ports}
    layers = Counter(port.link_layer or "unknown" for port in ports)
    kinds = ", ".join(f"{number} {layer}" for layer, number in sorted(layers.items()))
    active = sum(sampled.of(LINK).values())
    seen = f"{count(len(devices), 'device')}, {count(len(ports), 'port')} ({kinds}), {active:.0f} active"
    for device, error in sorted(errors)[:1]:
        hit = len({device for device, _ in errors})
        why, fix = _failure(visit, device, error)
        yield Finding(SUBJECT, "limited", f"{seen}; {count(hit, 'device')} with files that fail", why, fix)
        return
    yield Finding(SUBJECT, "ok", seen)


def _nothing(visit: Visit) -> Finding:
    offered = list(pci.rdma_nics(visit.world.sysfs))
    if not offered:
        return Finding(SUBJECT, "absent", "no RDMA device")
    module = offered[0][1]
    seen = f"no RDMA device, though {count(len(offered), 'NIC')} could be one: {offered[0][0].address}"
    if (visit.world.sysfs / "module" / module).exists():
        why = f"{module} is loaded: its devices are in another network namespace (rdma system show)"
        fix = visit.place.fix(
            "rdma system set netns shared", "start the container with --network host", "spec: {hostNetwork: true}"
        )
    else:
        why = f"the module {module} is not loaded"
        fix = visit.place.fix(f"modprobe {module}", f"on the host: modprobe {module}")
    return Finding(SUBJECT, "limited", seen, why, fix)


def _failure(visit: Visit, device: str, error: str) -> tuple[str, str]:
    """Why a file of the device does not answer, and what helps."""
    if error == TIMED_OUT:
        return f"{device}: its driver does not answer", f"dmesg | grep {device}; then reload its driver"
    failing = list(_failing(visit.world.sysfs / "class" / "infiniband" / device, error))
    where = f"{failing[0]} and {len(failing) - 1} more" if len(failing) > 1 else "".join(failing[:1]) or device
    if error in ("EACCES", "EPERM"):
        return f"{where}: {error}, {visit.place.user} may not read it", visit.place.grant("DAC_READ_SEARCH")
    return f"{where}: {error}", f"dmesg | grep {device}; update the NIC's firmware (its other files are served)"


def _failing(device: Path, error: str) -> Iterator[str]:
    """Files whose read fails so now, relative to the class."""
    for pattern in FILES:
        for file in sorted(device.glob(f"ports/*/{pattern}")):
            try:
                file.read_bytes()
            except OSError as failure:
                if errno.errorcode.get(failure.errno or 0) == error:
                    yield str(file.relative_to(device.parent))
