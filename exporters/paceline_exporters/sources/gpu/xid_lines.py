"""The lines that NVIDIA's drivers write to the kernel log about faults.

A GPU's are printed by `krcReportXid` and `_krcLogUuidOnce` in kernel_rc.c of NVIDIA's open-gpu-kernel-modules:

    NVRM: GPU at PCI:0000:3b:00: GPU-48ef9c66-4339-41dd-0635-3e3803289594
    NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, name=python, GPU has fallen off the bus.
    NVRM: Xid (PCI:0000:3b:00 GPU-I:05 GPU-CI:02): 94, pid=7194, Contained: CE User Channel (0x9). ...

Older drivers leave `PCI:` or the process out. An NVSwitch's are described in NVIDIA's fabric manager guide; only
the first of its three lines names the severity, and only that one is an `Sxid`:

    nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 28006, Non-fatal, Link 46 MC TS crumbstore MCTO (First)
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ADDRESS = r"(?:PCI:)?((?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}(?:\.[0-7])?)"
XID = re.compile(rf"NVRM: Xid \({ADDRESS}(?: [^)]*)?\): (\d{{1,5}})\b(?:, ?(.*))?", re.DOTALL)
SXID = re.compile(rf"nvidia-nvswitch\d+: SXid \({ADDRESS}\): (\d{{1,6}}), (Fatal|Non-fatal)\b")
NAMED = re.compile(rf"NVRM: GPU at {ADDRESS}: (GPU-[0-9a-fA-F-]{{36}})")
RECOVERY = re.compile(r"GPU recovery action changed from 0x[0-9a-fA-F]+ \([^)]*\) to 0x[0-9a-fA-F]+ \(([^)]*)\)")
RECOVERY_CODE = 154
NO_RECOVERY = "None"


@dataclass(frozen=True)
class Xid:
    """A GPU's fault; one of a MIG instance counts for the GPU."""

    pci: str
    """As sysfs writes it: `0000:3b:00.0`."""
    code: int
    recovery: str = ""
    """Of XID 154 the recovery action that the driver asks for from now on, in its words; else empty."""


@dataclass(frozen=True)
class Sxid:
    """An NVSwitch's fault."""

    pci: str
    code: int
    fatal: bool


@dataclass(frozen=True)
class Named:
    """Which GPU is at an address; the driver says it once, before the GPU's first fault."""

    pci: str
    uuid: str


def parse(text: str) -> Xid | Sxid | Named | None:
    """What a line of the kernel says; None when it is about something else."""
    if match := XID.match(text):
        pci, code, message = match.groups()
        return Xid(pci_address(pci), int(code), _recovery(int(code), message or ""))
    if match := SXID.match(text):
        pci, code, severity = match.groups()
        return Sxid(pci_address(pci), int(code), severity == "Fatal")
    if match := NAMED.match(text):
        pci, uuid = match.groups()
        return Named(pci_address(pci), uuid)
    return None


def pci_address(address: str) -> str:
    """As sysfs writes it, from NVML's, the driver's or sysfs' own: a GPU's domain in four digits, function 0."""
    bus, _, function = address.lower().partition(".")
    *domain, bus_number, device = bus.split(":")
    number = int(domain[0], 16) if domain else 0
    return f"{number:04x}:{bus_number}:{device}.{function or '0'}"


def _recovery(code: int, message: str) -> str:
    match = RECOVERY.search(message) if code == RECOVERY_CODE else None
    return match[1] if match else ""
