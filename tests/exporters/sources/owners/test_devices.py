from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_tree import NodeTree

from paceline_exporters.sources.board import Gpu, Port
from paceline_exporters.sources.owners.devices import Device, DeviceNames, minors

U = [f"GPU-0000000{n}-aaaa-bbbb-cccc-0123456789ab" for n in range(3)]
MIG = "MIG-11111111-aaaa-bbbb-cccc-0123456789ab"
GPUS = (
    Gpu(U[0], 0, "0000:1b:00.0"),
    Gpu(U[1], 1, "0000:3b:00.0"),
    Gpu(MIG, 1, "0000:3b:00.0", parent=U[1]),
    Gpu(U[2], 2, "0001:c1:00.0"),
)
PORTS = (
    Port("mlx5_0", "1", "0000:19:00.0", ("ib0",), "InfiniBand"),
    Port("mlx5_4", "1", "0000:3a:00.2", ("eth4",), "Ethernet"),
    Port("rxe0", "1", "", (), "Ethernet"),
)
NAMES = DeviceNames(GPUS, PORTS, {})


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ((U[1],), Device("gpu", U[1])),
        ((f"{U[1]}::3",), Device("gpu", U[1])),
        ((MIG,), Device("gpu", MIG)),
        ((f"{MIG}::0",), Device("gpu", MIG)),
        (
            ("GPU-99999999-aaaa-bbbb-cccc-0123456789ab",),
            Device("gpu", "GPU-99999999-aaaa-bbbb-cccc-0123456789ab"),
        ),
        (("gpu-2",), Device("gpu", U[2])),
        (("gpu-1-mig-1g12gb-19-4",), Device("gpu", U[1])),
        (("nvidia0",), Device("gpu", U[0])),
        (("nvidia1/gi2",), Device("gpu", U[1])),
        (("0000:3B:00.0",), Device("gpu", U[1])),
        (("00000001:C1:00.0",), Device("gpu", U[2])),
        (("0000:3a:00.2",), Device("nic", "mlx5_4")),
        (("pci-0000-3a-00-2",), Device("nic", "mlx5_4")),
        (("0000-19-00-0",), Device("nic", "mlx5_0")),
        (("mlx5_0",), Device("nic", "mlx5_0")),
        (("eth4",), Device("nic", "mlx5_4")),
        (("claim-of-a-kind", f"{U[0]}"), Device("gpu", U[0])),
        (("gpu-7", "1234-gpu-7"), None),
        (("17",), None),
        (("",), None),
        ((), None),
    ],
)
def test_whatever_its_name(names: tuple[str, ...], found: Device | None) -> None:
    assert NAMES.find(names) == found


def test_minor_numbers_go_before_indexes(node: NodeTree) -> None:
    for gpu, number in ((GPUS[0], 2), (GPUS[1], 0), (GPUS[3], 1)):
        node.minor(gpu, number)
    found = minors(node.procfs)
    assert found == {U[0]: 2, U[1]: 0, U[2]: 1}
    names = DeviceNames(GPUS, PORTS, found)
    assert [names.find([f"gpu-{n}"]) for n in range(3)] == [Device("gpu", uuid) for uuid in (U[1], U[2], U[0])]


def test_without_the_driver_there_are_no_minor_numbers(node: NodeTree) -> None:
    assert minors(node.procfs) == {}


@pytest.mark.parametrize(
    ("text", "uuid"),
    [
        (U[0], U[0]),
        (U[0].removeprefix("GPU-"), U[0]),
        (MIG.removeprefix("MIG-"), MIG),
        ("99999999-aaaa-bbbb-cccc-0123456789ab", "GPU-99999999-aaaa-bbbb-cccc-0123456789ab"),
        ("GPU-00000001", U[1]),
        ("GPU-0000000", ""),  # which of three
        ("MIG-1", MIG),
        ("0", ""),
        ("", ""),
        ("cuda:0", ""),
    ],
)
def test_uuids_as_others_write_them(text: str, uuid: str) -> None:
    assert NAMES.uuid(text) == uuid


@given(st.text(max_size=60))
def test_any_name_is_a_device_of_this_node_or_none(name: str) -> None:
    found = NAMES.find([name])
    assert found is None or found.name in {*U, MIG, "mlx5_0", "mlx5_4", "rxe0"}
    assert NAMES.uuid(name) in {*U, MIG, ""}


@given(st.uuids().map(str), st.sampled_from(["GPU", "MIG"]), st.integers(0, 99))
def test_a_replica_is_its_device(uuid: str, kind: str, replica: int) -> None:
    assert NAMES.find([f"{kind}-{uuid}::{replica}"]) == Device("gpu", f"{kind}-{uuid}")


def test_on_a_node_that_knows_nothing_only_uuids_tell() -> None:
    names = DeviceNames((), (), {})
    assert names.find([U[0]]) == Device("gpu", U[0])
    assert names.find(["gpu-0", "0000:1b:00.0", "mlx5_0"]) is None
    assert names.indexed(0) == ""
