from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from paceline_exporters.metrics import Samples
from paceline_exporters.sources.contract import World
from paceline_exporters.sources.host.cpu import CPU_MODES
from paceline_exporters.sources.host.disk import MOST_DISKS
from paceline_exporters.sources.host.source import HostSource

PROCFS = Path(__file__).parents[3] / "fixtures" / "procfs"
Watch = Callable[[World], HostSource]


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Makes sources; they are closed with the test."""
    made: list[HostSource] = []

    def make(world: World) -> HostSource:
        made.append(HostSource(world))
        return made[-1]

    yield make
    for source in made:
        source.close()


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A host of two CPUs and two disks, whose files can be changed."""
    shutil.copytree(PROCFS, tmp_path / "proc")
    for device in ("loop0", "nvme0n1", "dm-0", "sr0"):
        (tmp_path / "sys/block" / device).mkdir(parents=True)
    return World(procfs=tmp_path / "proc", sysfs=tmp_path / "sys")


def values(samples: Samples) -> dict[str, object]:
    return {
        " ".join((family.name.removeprefix("paceline_host_"), *labels)): value
        for family, points in samples.points.items()
        for labels, value in points.items()
    }


def test_a_host_read_from_another_root(watch: Watch) -> None:
    found = values(watch(World(procfs=PROCFS)).sample())
    ticks = {
        "user": 100,
        "nice": 200,
        "system": 300,
        "idle": 4000,
        "iowait": 50,
        "irq": 6,
        "softirq": 7,
        "steal": 8,
    }
    tick = os.sysconf("SC_CLK_TCK")
    assert {mode: found[f"cpu_seconds_total {mode}"] for mode in CPU_MODES} == {
        mode: count / tick for mode, count in ticks.items()
    }
    assert found["cpus"] == 2
    assert [found[f"load_average {window}"] for window in ("1m", "5m", "15m")] == [0.5, 1.25, 2.0]
    assert found["memory_total_bytes"] == 1000 * 1024
    assert found["memory_available_bytes"] == 600 * 1024
    assert found["network_receive_bytes_total eth0"] == 1000
    assert found["network_transmit_bytes_total eth0"] == 2000
    assert found["network_receive_drops_total eth0"] == 2
    assert found["network_transmit_errors_total eth0"] == 3


def test_devices_of_containers_are_left_out(watch: Watch) -> None:
    assert not any("veth" in name for name in values(watch(World(procfs=PROCFS)).sample()))


def test_tasks(watch: Watch, world: World) -> None:
    found = values(watch(world).sample())
    assert found["tasks_running"] == 3
    assert found["tasks_blocked"] == 2
    assert found["context_switches_total"] == 123456
    assert found["boot_time_seconds"] == 1700000000


def test_memory_beyond_psutil(watch: Watch, world: World) -> None:
    found = values(watch(world).sample())
    page = os.sysconf("SC_PAGE_SIZE")
    assert found["memory_dirty_bytes"] == 7 * 1024
    assert found["memory_writeback_bytes"] == 3 * 1024
    assert (found["swap_total_bytes"], found["swap_free_bytes"]) == (500 * 1024, 400 * 1024)
    huge_page = 2048 * 1024
    assert found["hugepages_total_bytes"] == 8 * huge_page
    assert found["hugepages_free_bytes"] == 6 * huge_page
    assert found["hugepages_reserved_bytes"] == huge_page
    assert found["oom_kills_total"] == 2
    assert (found["swap_in_bytes_total"], found["swap_out_bytes_total"]) == (5 * page, 6 * page)
    assert found["major_faults_total"] == 7


def test_pressure(watch: Watch, world: World) -> None:
    found = values(watch(world).sample())
    assert {name: value for name, value in found.items() if name.startswith("pressure")} == {
        "pressure_seconds_total cpu some": 1.5,
        "pressure_seconds_total memory some": 2.5,
        "pressure_seconds_total memory full": 0.5,
        "pressure_seconds_total io some": 3.5,
        "pressure_seconds_total io full": 0.75,
        "pressure_seconds_total irq full": 0.125,
    }


def test_disks_are_whole_ones(watch: Watch, world: World) -> None:
    found = values(watch(world).sample())
    assert {name.split()[1] for name in found if name.startswith("disk_")} == {"nvme0n1", "dm-0"}
    assert {name: value for name, value in found.items() if name.endswith("nvme0n1")} == {
        "disk_reads_total nvme0n1": 100,
        "disk_read_bytes_total nvme0n1": 2000 * 512,
        "disk_read_seconds_total nvme0n1": 3,
        "disk_writes_total nvme0n1": 400,
        "disk_written_bytes_total nvme0n1": 6000 * 512,
        "disk_write_seconds_total nvme0n1": 7,
        "disk_io_seconds_total nvme0n1": 8,
        "disk_weighted_io_seconds_total nvme0n1": 9,
    }


def test_nfs_client(watch: Watch, world: World) -> None:
    found = values(watch(world).sample())
    assert found["nfs_calls_total"] == 1000
    assert found["nfs_retransmissions_total"] == 20
    assert found["nfs_authentication_refreshes_total"] == 3


def test_tcp(watch: Watch, world: World) -> None:
    found = values(watch(world).sample())
    assert {name: value for name, value in found.items() if name.startswith("tcp_")} == {
        "tcp_receive_segments_total": 7000,
        "tcp_transmit_segments_total": 6000,
        "tcp_retransmit_segments_total": 50,
        "tcp_spurious_retransmit_segments_total": 6,
        "tcp_receive_errors_total": 4,
        "tcp_timeouts_total": 9,
        "tcp_listen_drops_total": 8,
    }


def test_disks_of_hardware_go_before_logical_volumes(watch: Watch, world: World) -> None:
    names = [f"dm-{number}" for number in range(MOST_DISKS + 6)]
    for name in names:
        (world.sysfs / "block" / name).mkdir(exist_ok=True)
    (world.sysfs / "block/nvme0n1/device").mkdir()
    rows = (f"259 0 {name} 1 2 3 4 5 6 7 8 9 10 11\n" for name in (*names, "nvme0n1"))
    (world.procfs / "diskstats").write_text("".join(rows))
    found = values(watch(world).sample())
    shown = [name.split()[1] for name in found if name.startswith("disk_reads_total")]
    assert len(shown) == MOST_DISKS
    assert "nvme0n1" in shown
    assert found["disks_left_out"] == 7


def test_time_waited_for_disks_never_falls(watch: Watch, world: World) -> None:
    source, seconds = watch(world), []
    for ticks in (5000, 4990, 5010):
        (world.procfs / "stat").write_text(f"cpu 10 0 10 1000 {ticks} 0 0 0\ncpu0 1 0\n")
        seconds.append(values(source.sample())["cpu_seconds_total iowait"])
    tick = os.sysconf("SC_CLK_TCK")
    assert seconds == [5000 / tick, 5000 / tick, 5010 / tick]


def test_the_network_is_that_of_the_first_process_where_it_can_be_read(watch: Watch, world: World) -> None:
    shutil.copytree(world.procfs / "net", world.procfs / "1/net")
    (world.procfs / "1/net/snmp").write_text("Tcp: RetransSegs\nTcp: 123\n")
    (world.procfs / "1/net/netstat").unlink()
    (world.procfs / "1/net/rpc/nfs").write_text("rpc 5 6 7\n")
    dev = (world.procfs / "net/dev").read_text()
    (world.procfs / "1/net/dev").write_text(dev.replace("eth0", "ib0"))
    found = values(watch(world).sample())
    assert found["tcp_retransmit_segments_total"] == 123
    assert found["nfs_calls_total"] == 5
    assert found["network_receive_bytes_total ib0"] == 1000
    assert "network_receive_bytes_total eth0" not in found
    assert "tcp_receive_segments_total" not in found
    assert found["tcp_timeouts_total"] == 9


def test_changes_are_seen_through_open_files(watch: Watch, world: World) -> None:
    source = watch(world)
    source.sample()
    (world.procfs / "vmstat").write_text("oom_kill 5\n")
    assert values(source.sample())["oom_kills_total"] == 5


@pytest.mark.parametrize(
    ("missing", "subject"),
    [
        ("pressure/io", "pressure_seconds_total io some"),
        ("net/rpc/nfs", "nfs_calls_total"),
        ("vmstat", "oom_kills_total"),
        ("net/snmp", "tcp_retransmit_segments_total"),
        ("net/netstat", "tcp_timeouts_total"),
        ("net/dev", "network_receive_bytes_total eth0"),
    ],
)
def test_what_the_kernel_does_without_is_absent(watch: Watch, world: World, missing: str, subject: str) -> None:
    assert subject in values(watch(world).sample())
    (world.procfs / missing).unlink()
    samples = watch(world).sample()
    assert subject not in values(samples)
    assert samples.problem is None


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("pressure/memory", "some total=many\n"),
        ("diskstats", "259 0\n"),
        ("vmstat", "oom_kill many\n"),
        ("net/snmp", "Tcp: InSegs OutSegs\nTcp: 1\n"),
    ],
)
def test_a_file_that_is_not_as_expected_costs_its_subject_only(
    watch: Watch, world: World, file: str, text: str
) -> None:
    (world.procfs / file).write_text(text)
    samples = watch(world).sample()
    assert samples.problem is not None
    assert {"cpus", "nfs_calls_total", "network_receive_bytes_total eth0"} <= values(samples).keys()


def test_an_empty_procfs_is_a_failure(watch: Watch, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="stat"):
        watch(World(procfs=tmp_path)).sample()


def test_this_machine_agrees_with_psutil(watch: Watch) -> None:
    found = values(watch(World()).sample())
    assert found["cpus"] == psutil.cpu_count()
    assert found["memory_total_bytes"] == psutil.virtual_memory().total
    assert found["boot_time_seconds"] == psutil.boot_time()
    later = psutil.disk_io_counters(perdisk=True, nowrap=False)
    devices = {name.split()[1] for name in found if name.startswith("disk_")}
    assert devices <= later.keys()
    for device in devices:
        read = found[f"disk_read_bytes_total {device}"]
        assert isinstance(read, int)
        assert read <= later[device].read_bytes
