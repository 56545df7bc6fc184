from __future__ import annotations

import errno
import fcntl
import json
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
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
    """A driver that lists what the test wants."""

    def __init__(self) -> None:
        self.listed = {"rx_packets": 1, "rx_prio3_pause_duration": 2_500_000}

    def count(self, device: str) -> int:
        return len(self.listed)

    def names(self, device: str, count: int) -> bytes:
        return b"".join(name.encode().ljust(STRING_BYTES, b"\0") for name in self.listed)

    def values(self, device: str, count: int) -> list[int]:
        return list(self.listed.values())

    def close(self) -> None:
        pass


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    one = Driver()
    monkeypatch.setattr(source_module, "StatisticsSocket", lambda: one)
    return one


@pytest.fixture
def kept_world(tmp_path: Path) -> World:
    """One whose sources remember."""
    (tmp_path / "sys/kernel/random").mkdir(parents=True)
    (tmp_path / "sys/kernel/random/boot_id").write_text("first-boot\n")
    return replace(world_with("eth0"), procfs=tmp_path, state=tmp_path / "state")


def served(samples: Samples) -> dict[str, object]:
    return {
        " ".join((family.name.removeprefix("paceline_nic_"), *labels[1:])): value
        for family, points in samples.points.items()
        for labels, value in points.items()
    }


def test_pfc_that_moves_to_another_priority(watch: Watch, driver: Driver) -> None:
    source = watch(world_with("eth0"))
    for priority in (3, 4):
        driver.listed = {"rx_packets": 1, f"rx_prio{priority}_pause_duration": 2_500_000}
        values = served(source.sample())
        assert values == {f"receive_pfc_pause_seconds_total {priority}": 2.5, "ethtool_resets_total": 0}


def test_a_register_that_wraps_goes_on(watch: Watch, driver: Driver) -> None:
    source = watch(world_with("eth0"))
    for raw in (2**32 - 10, 5):
        driver.listed = {"rx_out_of_buffer": raw}
        values = served(source.sample())
    assert values == {"receive_out_of_buffer_total": 2**32 + 5, "ethtool_resets_total": 0}


def test_a_reset_is_declared_and_counting_goes_on(watch: Watch, driver: Driver) -> None:
    source = watch(world_with("eth0"))
    for raw in (1000, 3, 4):
        driver.listed = {"rx_crc_errors_phy": raw}
        values = served(source.sample())
    assert values == {"receive_crc_errors_total": 1004, "ethtool_resets_total": 1}


def test_another_name_for_the_same_series_does_not_take_it_down(watch: Watch, driver: Driver) -> None:
    source = watch(world_with("eth0"))
    totals = []
    for listed in ({"rx_global_pause": 500}, {"rx_pause_ctrl_phy": 20}, {"rx_global_pause": 501}):
        driver.listed = dict(listed)
        totals.append(served(source.sample())["receive_pause_frames_total"])
    assert totals == sorted(totals)


def test_gauges_are_as_they_are(watch: Watch, driver: Driver) -> None:
    source = watch(world_with("eth0"))
    for raw in (50, 20):
        driver.listed = {"outbound_pci_stalled_rd": raw}
        assert served(source.sample())["pcie_stalled_ratio read"] == raw / 100


def test_counters_go_on_over_agents_and_boots(watch: Watch, driver: Driver, kept_world: World) -> None:
    name = "link_down_events_total"
    driver.listed = {"link_down_events_phy": 7}
    first = watch(kept_world)
    assert served(first.sample())[name] == 7
    first.close()
    driver.listed = {"link_down_events_phy": 9}
    assert served(watch(kept_world).sample())[name] == 9
    driver.listed = {"link_down_events_phy": 1}  # a reset is saved at once: this one is killed
    killed = watch(kept_world)
    assert served(killed.sample()) == {name: 10, "ethtool_resets_total": 1}
    driver.listed = {"link_down_events_phy": 12}
    assert served(watch(kept_world).sample())[name] == 21
    (kept_world.procfs / "sys/kernel/random/boot_id").write_text("second-boot\n")
    killed = watch(kept_world)
    driver.listed = {"link_down_events_phy": 30}
    assert served(killed.sample())["ethtool_resets_total"] == 2


def test_what_is_remembered_is_bounded(
    watch: Watch, driver: Driver, kept_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "MOST_GONE", 2)
    source = watch(kept_world)
    for number in range(6):
        kept_world.board.ports = world_with(f"eth{number}").board.ports
        source.sample()
    source.close()
    assert kept_world.state is not None
    document = json.loads((kept_world.state / "ethtool.json").read_text())
    assert list(document["devices"]) == ["eth3", "eth4", "eth5"]
