from __future__ import annotations

import errno
import fcntl
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline_exporters.metrics import Samples
from paceline_exporters.sources.board import Board, Port
from paceline_exporters.sources.contract import World
from paceline_exporters.sources.ethtool import source as source_module
from paceline_exporters.sources.ethtool.ioctl import SIOCETHTOOL, STRING_BYTES
from paceline_exporters.sources.ethtool.source import ERRORS, RAW, EthtoolSource

Isolated = Callable[[Callable[[], None]], None]
Watch = Callable[..., EthtoolSource]
EVERYTHING = re.compile("")


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Makes sources; they are closed with the test."""
    made: list[EthtoolSource] = []

    def make(world: World, include: re.Pattern[str] | None = None) -> EthtoolSource:
        made.append(EthtoolSource(world, include))
        return made[-1]

    yield make
    for source in made:
        source.close()


def world_with(*netdevs: str) -> World:
    port = Port(device="mlx5_0", port="1", pci="", netdevs=netdevs, link_layer="Ethernet")
    return World(board=Board(ports=(port,)))


def run(command: str) -> str:
    return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout


def add_pair(name: str, queues: int) -> None:
    run(f"ip link add {name} numrxqueues {queues} numtxqueues {queues} type veth peer name {name}peer")


def raw(samples: Samples) -> dict[tuple[str, ...], object]:
    return dict(samples.points[RAW])


def as_the_command_prints(device: str) -> dict[tuple[str, ...], int]:
    lines = run(f"ethtool -S {device}").splitlines()[1:]
    pairs = (line.rpartition(":") for line in lines)
    return {(device, name.strip()): int(value) for name, _, value in pairs}


def test_values_are_those_of_the_command(isolated: Isolated, watch: Watch) -> None:
    def check() -> None:
        add_pair("veth0", queues=3)
        add_pair("veth1", queues=1)
        source = watch(world_with("veth0", "veth1"), EVERYTHING)
        found = raw(source.sample())
        expected = as_the_command_prints("veth0") | as_the_command_prints("veth1")
        assert found == expected
        assert found["veth0", "peer_ifindex"] == socket.if_nametoindex("veth0peer")
        assert ("veth0", "rx_queue_2_drops") in found
        assert ("veth1", "rx_queue_2_drops") not in found

    isolated(check)


def test_only_what_is_asked_for(isolated: Isolated, watch: Watch) -> None:
    def check() -> None:
        add_pair("veth0", queues=1)
        assert raw(watch(world_with("veth0")).sample()) == {}
        found = raw(watch(world_with("veth0"), re.compile("_index$|^peer_")).sample())
        assert [name for _, name in found] == ["peer_ifindex"]

    isolated(check)


def test_a_device_that_vanishes_or_is_replaced(isolated: Isolated, watch: Watch) -> None:
    def check() -> None:
        add_pair("veth0", queues=1)
        add_pair("veth1", queues=1)
        source = watch(world_with("veth0", "veth1"), EVERYTHING)
        assert {device for device, _ in raw(source.sample())} == {"veth0", "veth1"}
        run("ip link del veth0")
        samples = source.sample()
        assert {device for device, _ in raw(samples)} == {"veth1"}
        assert samples.problem is None
        assert ERRORS not in samples.points
        add_pair("veth0", queues=4)
        assert raw(source.sample()) == as_the_command_prints("veth0") | as_the_command_prints("veth1")

    isolated(check)


def test_absent_devices_are_no_failure(isolated: Isolated, watch: Watch) -> None:
    """Not in this namespace, without statistics, with a name no device can have."""

    def check() -> None:
        samples = watch(world_with("nowhere", "lo", "a-name-of-over-15-bytes"), EVERYTHING).sample()
        assert samples.points == {}
        assert samples.problem is None

    isolated(check)


def test_devices_are_those_of_sysfs_until_the_rdma_source_has_looked(
    isolated: Isolated, watch: Watch, tmp_path: Path
) -> None:
    def check() -> None:
        add_pair("veth0", queues=1)
        (tmp_path / "class/infiniband/mlx5_0/device/net/veth0").mkdir(parents=True)
        world = World(sysfs=tmp_path)
        source = watch(world, EVERYTHING)
        assert raw(source.sample()) == as_the_command_prints("veth0")
        world.board.ports = ()
        assert raw(source.sample()) == {}

    isolated(check)


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Makes the kernel refuse requests for a device."""
    real, refused = fcntl.ioctl, dict[bytes, int]()

    def ioctl(fd: Any, request: int, argument: bytes) -> bytes:
        device = argument.partition(b"\0")[0]
        if request == SIOCETHTOOL and device in refused:
            raise OSError(refused[device], "refused")
        return real(fd, request, argument)

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    return lambda device, number: refused.update({device.encode(): number})


def test_a_device_that_fails_costs_itself_only_and_is_counted(
    isolated: Isolated, watch: Watch, refuse: Callable[[str, int], None]
) -> None:
    def check() -> None:
        add_pair("veth0", queues=1)
        add_pair("veth1", queues=1)
        source = watch(world_with("veth0", "veth1"), EVERYTHING)
        refuse("veth0", errno.EIO)
        for attempts in (1, 2):
            samples = source.sample()
            assert {device for device, _ in raw(samples)} == {"veth1"}
            assert samples.points[ERRORS] == {("veth0", "EIO"): attempts}
            assert samples.problem is None

    isolated(check)


def test_that_all_fail_is_a_problem(watch: Watch, refuse: Callable[[str, int], None]) -> None:
    refuse("eth0", errno.EPERM)
    samples = watch(world_with("eth0")).sample()
    assert isinstance(samples.problem, PermissionError)
    assert samples.problem.filename == "eth0"
    assert samples.points[ERRORS] == {("eth0", "EPERM"): 1}


class Driver:
    """A driver that lists other statistics than before, as many."""

    def __init__(self) -> None:
        self.priority = 3

    def count(self, device: str) -> int:
        return 2

    def names(self, device: str, count: int) -> bytes:
        names = ("rx_packets", f"rx_prio{self.priority}_pause_duration")
        return b"".join(name.encode().ljust(STRING_BYTES, b"\0") for name in names)

    def values(self, device: str, count: int) -> list[int]:
        return [1, 2_500_000]

    def close(self) -> None:
        pass


def test_pfc_that_moves_to_another_priority(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    monkeypatch.setattr(source_module, "StatisticsSocket", lambda: driver)
    source = watch(world_with("eth0"))
    for priority in (3, 4):
        driver.priority = priority
        [(family, points)] = source.sample().points.items()
        assert family.name == "paceline_nic_receive_pfc_pause_seconds_total"
        assert points == {("eth0", str(priority)): 2.5}
