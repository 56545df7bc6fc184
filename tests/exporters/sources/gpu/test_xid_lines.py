from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline_exporters.sources.gpu.xid_lines import Named, Sxid, Xid, parse, pci_address

PCI = "0000:3b:00.0"
UUID = "GPU-48ef9c66-4339-41dd-0635-3e3803289594"
CHANGED = "GPU recovery action changed from"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, name=python, GPU has fallen off the bus.", Xid(PCI, 79)),
        ("NVRM: Xid (PCI:0000:3b:00): 13, pid='<unknown>', name=<unknown>, Graphics SM Warp", Xid(PCI, 13)),
        ("NVRM: Xid (PCI:0000:3b:00): 48, An uncorrectable double bit error", Xid(PCI, 48)),
        ("NVRM: Xid (PCI:0000:3b:00): 45, pid=9, name=a, Ch 1 caused by previous Xid 149", Xid(PCI, 45)),
        ("NVRM: Xid (PCI:0000:3B:00.0): 94, Ch 00000008", Xid(PCI, 94)),
        ("NVRM: Xid (0000:3b:00): 14, Channel 00000001", Xid(PCI, 14)),
        ("NVRM: Xid (3b:00): 6, PE0001", Xid(PCI, 6)),
        ("NVRM: Xid (PCI:0000:3b:00 GPU-I:05): 94, pid=7194, Contained: CE", Xid(PCI, 94)),
        ("NVRM: Xid (PCI:0000:3b:00 GPU-I:05 GPU-CI:02): 94, pid=7, name=a, Contained", Xid(PCI, 94)),
        ("NVRM: Xid (PCI:0019:01:00): 149, NETIR Fatal XC0 i0 Link -1 (0x000fe406)", Xid("0019:01:00.0", 149)),
        ("NVRM: Xid (PCI:10000:e1:00): 62, 023f0f30", Xid("10000:e1:00.0", 62)),
        ("NVRM: Xid (PCI:0000:3b:00): 16", Xid(PCI, 16)),
        (
            f"NVRM: Xid (PCI:0000:3b:00): 154, {CHANGED} 0x0 (None) to 0x2 (Node Reboot Required)",
            Xid(PCI, 154, "Node Reboot Required"),
        ),
        (
            f"NVRM: Xid (PCI:0000:3b:00): 154, pid=1, name=a, {CHANGED} 0x1 (GPU Reset Required) to 0x0 (None)",
            Xid(PCI, 154, "None"),
        ),
        (f"NVRM: Xid (PCI:0000:3b:00): 13, {CHANGED} 0x0 (None) to 0x2 (OS Reboot)", Xid(PCI, 13)),
        (f"NVRM: GPU at PCI:0000:3b:00: {UUID}", Named(PCI, UUID)),
        (
            "nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 28006, Non-fatal, Link 46 MC TS crumbstore (First)",
            Sxid("0000:c1:00.0", 28006, False),
        ),
        (
            "nvidia-nvswitch0: SXid (PCI:0000:00:00.0): 20034, Fatal, Link 30 LTSSM Fault Up",
            Sxid("0000:00:00.0", 20034, True),
        ),
        ("nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 28006, Severity 0 Engine instance 46", None),
        ("nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 28006, Data {0x00140004, 0x00100000}", None),
        ("NVRM: GPU at PCI:0000:17:00.0 has fallen off the bus.", None),
        ("NVRM: GPU at PCI:0000:01:00: GPU-????????-????-????-????-????????????", None),
        ("NVRM: Xid (PCI:0000:66:00): abc, pid=2280636", None),
        ("NVRM: Xid (PCI:0000:66:00): 1234567, pid=1", None),
        ("NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64", None),
        ("audit: comm='NVRM: Xid (PCI:0000:3b:00): 79, forged'", None),
    ],
)
def test_every_known_shape(line: str, found: object) -> None:
    assert parse(line) == found


@given(
    st.one_of(
        st.text(), st.text().map("NVRM: Xid (PCI:".__add__), st.text().map("nvidia-nvswitch0: SXid (".__add__)
    )
)
def test_it_never_raises(text: str) -> None:
    parse(text)


@given(
    domain=st.one_of(st.none(), st.integers(0, 2**32 - 1)),
    bus=st.integers(0, 255),
    device=st.integers(0, 31),
    prefix=st.sampled_from(["PCI:", ""]),
    function=st.sampled_from([".0", ""]),
    instance=st.sampled_from(["", " GPU-I:05", " GPU-I:05 GPU-CI:02"]),
    code=st.integers(1, 999),
    process=st.sampled_from(["", "pid=1234, name=python, ", "pid='<unknown>', name=<unknown>, "]),
    message=st.text(),
)
def test_every_combination_of_the_shapes(
    domain: int | None,
    bus: int,
    device: int,
    prefix: str,
    function: str,
    instance: str,
    code: int,
    process: str,
    message: str,
) -> None:
    address = ("" if domain is None else f"{domain:04x}:") + f"{bus:02x}:{device:02x}{function}"
    found = parse(f"NVRM: Xid ({prefix}{address}{instance}): {code}, {process}{message}")
    assert isinstance(found, Xid)
    assert (found.pci, found.code) == (f"{domain or 0:04x}:{bus:02x}:{device:02x}.0", code)


@pytest.mark.parametrize("address", ["00000000:3B:00.0", "0000:3b:00.0", "0000:3b:00", "3B:00.0"])
def test_one_address_for_all_its_spellings(address: str) -> None:
    assert pci_address(address) == PCI
