from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline_exporters.sources.rails.roles import (
    COMPUTE,
    MANAGEMENT,
    UNKNOWN,
    Facts,
    carriers,
    default_routes,
    rate,
    roles,
)


def nic(path: str, rate: float | None = 400.0, default_route: bool = False) -> Facts:
    return Facts(path, rate, default_route)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        pytest.param(
            [nic("PIX"), nic("NODE"), nic("NODE", default_route=True)],
            [COMPUTE, UNKNOWN, MANAGEMENT],
            id="others share a switch with a GPU",
        ),
        pytest.param(
            [nic("PIX", default_route=True), nic("PXB")],
            [COMPUTE, COMPUTE],
            id="a rail may carry the default route",
        ),
        pytest.param([nic("PIX"), nic("PIX", rate=25.0)], [COMPUTE, MANAGEMENT], id="slow beside a GPU"),
        pytest.param([nic("PIX"), nic("PIX", rate=200.0)], [COMPUTE, COMPUTE], id="half the rate is no fault"),
        pytest.param([nic("PIX"), nic("PIX", rate=None)], [COMPUTE, COMPUTE], id="down since ever"),
        pytest.param([nic("PHB"), nic("PHB")], [COMPUTE, COMPUTE], id="no switches at all"),
        pytest.param(
            [nic("PHB"), nic("PHB", default_route=True)], [COMPUTE, UNKNOWN], id="no switches, default route"
        ),
        pytest.param([nic("", rate=25.0)], [UNKNOWN], id="no GPU"),
        pytest.param([], [], id="no NIC"),
    ],
)
def test_roles(facts: list[Facts], expected: list[str]) -> None:
    assert roles(facts) == expected


@pytest.mark.parametrize(
    ("state", "text", "expected"),
    [
        ("4: ACTIVE", "400 Gb/sec (4X NDR)", 400.0),
        ("4: ACTIVE", "2.5 Gb/sec (1X SDR)", 2.5),
        ("1: DOWN", "10 Gb/sec (4X SDR)", None),
        ("4: ACTIVE", "0 GB/sec", None),
        ("4: ACTIVE", "", None),
    ],
)
def test_rate(tmp_path: Path, state: str, text: str, expected: float | None) -> None:
    (tmp_path / "state").write_text(f"{state}\n")
    (tmp_path / "rate").write_text(f"{text}\n")
    assert rate(tmp_path) == expected


def test_default_routes(tmp_path: Path) -> None:
    net = tmp_path / "net"
    net.mkdir()
    (net / "route").write_text(
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        "bond0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
        "ens8\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
    )
    none, gateway = "0" * 32, "fe80" + "0" * 27 + "1"
    (net / "ipv6_route").write_text(
        f"{none} 00 {none} 00 {gateway} 00000400 00000001 00000000 00000003 eth6\n"
        f"{none} 00 {none} 00 {none} ffffffff 00000001 00000000 00200200       lo\n"
        f"fe80{'0' * 28} 40 {none} 00 {none} 00000100 00000001 00000000 00000001 ens8\n"
    )
    assert default_routes(tmp_path) == {"bond0", "eth6"}
    assert default_routes(tmp_path / "elsewhere") == set()


def test_default_routes_are_those_of_the_first_process_where_it_can_be_read(tmp_path: Path) -> None:
    headings, route = "Iface\tDestination\tGateway\tFlags\n", "\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\n"
    for net, device in (("net", "eth0"), ("1/net", "bond0")):
        (tmp_path / net).mkdir(parents=True)
        (tmp_path / net / "route").write_text(f"{headings}{device}{route}")
    assert default_routes(tmp_path) == {"bond0"}
    (tmp_path / "1/net/route").write_text(headings)
    assert default_routes(tmp_path) == set(), "it has none"


def test_carriers(tmp_path: Path) -> None:
    """A bond on the device, a VLAN on the bond, and a loop that no kernel makes."""
    (tmp_path / "ens8/upper_bond0").mkdir(parents=True)
    (tmp_path / "bond0/upper_bond0.100").mkdir(parents=True)
    (tmp_path / "bond0.100/upper_ens8").mkdir(parents=True)
    assert carriers("ens8", tmp_path) == {"ens8", "bond0", "bond0.100"}
    assert carriers("ens9", tmp_path) == {"ens9"}


WORDS = st.sampled_from(["00000000", "00", "0" * 32, "0" * 31 + "1", "eth0", "lo", "\t", "\n", "x", "Iface"])
ROUTES = st.binary(max_size=300) | st.lists(WORDS, max_size=60).map(lambda words: " ".join(words).encode())


@given(ROUTES, ROUTES)
def test_whatever_stands_in_the_routes_devices_come_out(tmp_path_factory: Any, v4: bytes, v6: bytes) -> None:
    procfs = tmp_path_factory.getbasetemp() / "routes"
    (procfs / "net").mkdir(parents=True, exist_ok=True)
    (procfs / "net/route").write_bytes(v4)
    (procfs / "net/ipv6_route").write_bytes(v6)
    for name in default_routes(procfs):
        assert name == name.strip() != ""


RATES = st.binary(max_size=40) | st.text("0123456789.", max_size=400).map(lambda text: f"{text} Gb/sec".encode())


@given(RATES, st.sampled_from([b"4: ACTIVE", b"1: DOWN", b"", b"\xff"]))
def test_whatever_stands_in_a_rate_it_is_a_finite_one_or_none(
    tmp_path_factory: Any, text: bytes, state: bytes
) -> None:
    port = tmp_path_factory.getbasetemp() / "port"
    port.mkdir(exist_ok=True)
    (port / "rate").write_bytes(text)
    (port / "state").write_bytes(state)
    found = rate(port)
    assert found is None or (0 <= found < 1e9 and state.startswith(b"4:"))


@pytest.mark.parametrize("text", ["1.2.3 Gb/sec", ". Gb/sec", "9" * 400 + " Gb/sec"])
def test_what_is_no_rate(tmp_path: Path, text: str) -> None:
    (tmp_path / "rate").write_text(text)
    (tmp_path / "state").write_text("4: ACTIVE")
    assert rate(tmp_path) is None
