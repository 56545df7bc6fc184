from __future__ import annotations

from pathlib import Path

from sysfs_trees import EFA, RXE, Tree, dgx

from paceline_exporters.metrics import Family, Samples
from paceline_exporters.sources.board import Gpu, Port
from paceline_exporters.sources.contract import World
from paceline_exporters.sources.rails.source import AFFINITY, MOST_TIES, NIC, RAIL, RailsSource

GPU0 = "0000:18:00.0"
DEFAULT_ROUTE = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n" + (
    "ens8np0 00000000 0101A8C0 0003 0 0 100 00000000 0 0 0\n"
)


def series(samples: Samples, family: Family) -> list[dict[str, str]]:
    return [dict(zip(family.labels, labels, strict=True)) for labels in samples.points.get(family, {})]


def machine(root: Path) -> World:
    """h100-like, with a default route through one of the Ethernet NICs."""
    dgx(root / "sys")
    (root / "proc/net").mkdir(parents=True)
    (root / "proc/net/route").write_text(DEFAULT_ROUTE)
    return World(sysfs=root / "sys", procfs=root / "proc")


def test_each_gpu_has_the_nic_behind_its_switch(tmp_path: Path) -> None:
    rails = series(RailsSource(machine(tmp_path)).sample(), RAIL)
    assert [(rail["device"], rail["port"], rail["netdev"], rail["path"]) for rail in rails] == [
        (f"mlx5_{number}", "1", f"ib{number}", "PIX") for number in range(8)
    ]
    assert {rail["uuid"] for rail in rails} == {""}
    assert rails[0]["pci"] == GPU0


def test_roles_and_places_of_nics(tmp_path: Path) -> None:
    nics = {nic["device"]: nic for nic in series(RailsSource(machine(tmp_path)).sample(), NIC)}
    assert [nics[f"mlx5_{number}"]["role"] for number in range(10)] == ["compute"] * 8 + ["management", ""]
    assert nics["mlx5_0"] == {
        "device": "mlx5_0",
        "port": "1",
        "netdev": "ib0",
        "pci": "0000:19:00.0",
        "numa_node": "0",
        "driver": "mlx5_core",
        "role": "compute",
    }


def test_an_efa_is_for_computing_though_its_card_carries_the_default_route(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "sys")
    tree.gpu("pci0000:00", "0000:00:1e.0")
    tree.rdma("rdmap0s6", EFA, tree.function("pci0000:00", "0000:00:06.0"), netdev="ens8np0")
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/route").write_text(DEFAULT_ROUTE)
    world = World(sysfs=tmp_path / "sys", procfs=tmp_path / "proc")
    world.board.ports = (Port("rdmap0s6", "1", "0000:00:06.0", ("ens8np0",), ""),)
    assert [nic["role"] for nic in series(RailsSource(world).sample(), NIC)] == ["compute"]


def test_a_device_that_leads_to_itself_costs_itself_only(tmp_path: Path) -> None:
    world = machine(tmp_path)
    link = world.sysfs / "class/infiniband/mlx5_0/device"
    link.unlink()
    link.symlink_to("device")
    nics = {nic["device"]: nic["pci"] for nic in series(RailsSource(world).sample(), NIC)}
    assert nics["mlx5_0"] == ""
    assert nics["mlx5_1"] == "0000:41:00.0"


def test_gpus_and_ports_of_other_sources_come_first(tmp_path: Path) -> None:
    world = machine(tmp_path)
    world.board.gpus = (
        Gpu("GPU-a", 0, GPU0),
        Gpu("MIG-a", 0, GPU0, parent="GPU-a"),
        Gpu("GPU-lost", 1, "0000:ff:00.0"),
    )
    world.board.ports = (Port("mlx5_1", "1", "0000:41:00.0", ("ib1",), "InfiniBand"),)
    samples = RailsSource(world).sample()
    assert series(samples, RAIL) == [
        {"uuid": "GPU-a", "pci": GPU0, "device": "mlx5_1", "port": "1", "netdev": "ib1", "path": "NODE"}
    ]
    assert [nic["device"] for nic in series(samples, NIC)] == ["mlx5_1"]
    assert [gpu["uuid"] for gpu in series(samples, AFFINITY)] == ["GPU-a"]


def test_affinity_and_uuid_of_a_gpu_without_nvml(tmp_path: Path) -> None:
    world = machine(tmp_path)
    (world.sysfs / "bus/pci/devices" / GPU0 / "local_cpulist").write_text("0-55,112-167\n")
    information = world.procfs / "driver/nvidia/gpus" / GPU0 / "information"
    information.parent.mkdir(parents=True)
    information.write_text("Model: \t\t NVIDIA H100 80GB HBM3\nGPU UUID: \t GPU-1b2c\nBus Type: \t PCIe\n")
    assert series(RailsSource(world).sample(), AFFINITY)[0] == {
        "uuid": "GPU-1b2c",
        "pci": GPU0,
        "numa_node": "0",
        "cpus": "0-55,112-167",
    }


def test_a_port_that_goes_down_keeps_its_role(tmp_path: Path) -> None:
    world = machine(tmp_path)
    source = RailsSource(world)
    first = source.sample()
    port = world.sysfs / "class/infiniband/mlx5_3/ports/1"
    (port / "state").write_text("1: DOWN\n")
    (port / "rate").write_text("10 Gb/sec (4X SDR)\n")
    assert source.sample() is first


def test_a_slow_port_keeps_its_role_when_it_goes_down(tmp_path: Path) -> None:
    world = machine(tmp_path)
    port = world.sysfs / "class/infiniband/mlx5_9/ports/1"
    (port / "rate").write_text("25 Gb/sec (1X EDR)\n")
    source = RailsSource(world)
    first = source.sample()
    assert series(first, NIC)[-1]["role"] == "management"
    (port / "state").write_text("1: DOWN\n")
    assert source.sample() is first


def test_what_moves_is_seen(tmp_path: Path) -> None:
    world = machine(tmp_path)
    source = RailsSource(world)
    first = source.sample()
    assert source.sample() is first
    (world.sysfs / "class/infiniband/mlx5_0").unlink()
    rails = series(source.sample(), RAIL)
    assert {rail["device"] for rail in rails if rail["pci"] == GPU0} == {"mlx5_1", "mlx5_2", "mlx5_3"}
    assert {rail["path"] for rail in rails if rail["pci"] == GPU0} == {"NODE"}


def test_ties_are_bounded(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    gpu = tree.gpu(tree.bridge("pci0000:00", "0000:00:01.0"), "0000:01:00.0")
    ports = []
    for number in range(2 * MOST_TIES):
        bridge = tree.bridge("pci0000:00", f"0000:00:{number + 2:02x}.0")
        function = tree.function(bridge, f"0000:{number + 2:02x}:00.0")
        ports.append(Port(f"mlx5_{number}", "1", function.name, (), "InfiniBand"))
    world = World(sysfs=tmp_path, procfs=tmp_path)
    world.board.ports = tuple(ports)
    world.board.gpus = (Gpu("GPU-a", 0, gpu.name),)
    assert len(series(RailsSource(world).sample(), RAIL)) == MOST_TIES


def test_software_devices_are_no_rails(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.gpu(tree.bridge("pci0000:00", "0000:00:01.0"), "0000:01:00.0")
    tree.rdma("rxe0", RXE, netdev="eth0")
    samples = RailsSource(World(sysfs=tmp_path, procfs=tmp_path)).sample()
    assert series(samples, RAIL) == []
    assert [(nic["device"], nic["pci"], nic["role"]) for nic in series(samples, NIC)] == [("rxe0", "", "")]


def test_nothing_there_is_no_failure(tmp_path: Path) -> None:
    assert RailsSource(World(sysfs=tmp_path, procfs=tmp_path)).sample().points == {}
