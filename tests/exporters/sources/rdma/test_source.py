from __future__ import annotations

import gc
import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sysfs_trees import (
    BNXT_RE,
    EFA,
    HFI1,
    HNS,
    IRDMA,
    MLX5_INFINIBAND,
    MLX5_ROCE,
    MLX5_SWITCHDEV,
    MLX5_VIRTUAL_FUNCTION,
    NO_PMA,
    OLD_KERNEL,
    RXE,
    SIW,
    RdmaDevice,
    Story,
    Tree,
    dgx,
    many_ports,
)

from paceline_exporters.metrics import Renderer, Samples
from paceline_exporters.sources.board import Port
from paceline_exporters.sources.contract import World
from paceline_exporters.sources.rdma import create
from paceline_exporters.sources.rdma import device as device_module
from paceline_exporters.sources.rdma import source as source_module
from paceline_exporters.sources.rdma.binding import Binding
from paceline_exporters.sources.rdma.source import RdmaSource

Open = Callable[[], RdmaSource]
PREFIX = "paceline_rdma_"


@pytest.fixture
def world(tmp_path: Path) -> World:
    boot = tmp_path / "proc/sys/kernel/random/boot_id"
    boot.parent.mkdir(parents=True)
    boot.write_text("first-boot\n")
    return World(sysfs=tmp_path / "sys", procfs=tmp_path / "proc", state=tmp_path / "state")


@pytest.fixture
def start(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Start an agent's source; each is closed at the end, if the test did not."""
    monkeypatch.setattr(source_module, "PATIENCE_SECONDS", 30.0)  # a busy machine is no hanging driver
    sources: list[RdmaSource] = []

    def start_one() -> RdmaSource:
        sources.append(create(world))
        return sources[-1]

    yield start_one
    for source in sources:
        source.close()


@pytest.fixture
def scan_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "RESCAN_SECONDS", 0.0)


def one(world: World, name: str, story: Story, netdev: str | None = None, seed: int = 1) -> RdmaDevice:
    tree = Tree(world.sysfs)
    software = story.driver in ("rxe", "siw")
    function = None if software else tree.function("pci0000:16", "0000:17:00.0")
    return tree.rdma(name, story, function, netdev=netdev, seed=seed)


def found(samples: Samples) -> dict[str, float]:
    """`port_receive_bytes_total mlx5_0 1` -> value; the prefix is left out."""
    return {
        " ".join((family.name.removeprefix(PREFIX), *labels)): value
        for family, points in samples.points.items()
        for labels, value in points.items()
        if isinstance(value, (int, float))
    }


def test_a_machine_without_rdma_is_no_failure_and_costs_nothing(world: World, start: Open) -> None:
    source = start()
    first = source.sample()
    assert first.problem is None
    assert found(first) == {}
    assert source.sample() is first
    assert world.board.ports == ()
    source.close()
    assert world.state is not None
    assert not world.state.exists()


def test_an_infiniband_port(world: World, start: Open) -> None:
    one(world, "mlx5_0", MLX5_INFINIBAND, netdev="ib0")
    values = found(start().sample())
    assert values["port_up mlx5_0 1"] == 1
    assert values["port_active mlx5_0 1"] == 1
    assert values["port_state_id mlx5_0 1"] == 4
    assert values["port_physical_state_id mlx5_0 1"] == 5
    assert values["port_rate_bytes_per_second mlx5_0 1"] == 50e9
    assert values["port_info mlx5_0 1 InfiniBand ib0"] == 1
    about = "device_info mlx5_0 mlx5 0000:17:00.0 28.39.1002 MT_0000000838 MT4129 0001:0000:0300:0001"
    assert values[about] == 1
    assert values["port_transmit_bytes_total mlx5_0 1"] == 4 * 1_350_000_007
    assert values["port_receive_bytes_total mlx5_0 1"] == 4 * 1_250_000_001
    assert values["port_link_downed_total mlx5_0 1"] == 2
    assert values["port_transport_retries_exceeded_total mlx5_0 1"] == 112
    assert values["port_counters_saturated mlx5_0 1"] == 0
    assert values["port_stats_resets_total mlx5_0 1"] == 0
    assert not any("lifespan" in name or "hw_stats_total" in name for name in values)
    assert world.board.ports == (Port("mlx5_0", "1", "0000:17:00.0", ("ib0",), "InfiniBand"),)


@pytest.mark.parametrize(
    ("name", "story", "expected"),
    [
        (
            "efa_0",
            EFA,
            {
                "port_transmit_bytes_total": 1_000_001,
                "port_receive_drops_total": 4,
                "port_ack_timeouts_total": 19,
                "port_rdma_read_bytes_total": 10_010,
                "port_retransmit_packets_total": 18,
            },
        ),
        (
            "bnxt_re0",
            BNXT_RE,
            {
                "port_transmit_bytes_total": 2_000_003,
                "port_transport_retries_exceeded_total": 7,
                "port_receive_out_of_sequence_total": 10,
                "port_cnp_sent_packets_total": 20,
                "port_ecn_marked_packets_total": 21,
            },
        ),
        (
            "irdma0",
            IRDMA,
            {
                "port_receive_bytes_total": 5_005 + 9_009,
                "port_transmit_packets_total": 8 + 12,
                "port_cnp_sent_packets_total": 3,
            },
        ),
        (
            "hns_0",
            HNS,
            {
                "port_receive_packets_total": 1_001,
                "port_transmit_errors_total": 4,
                "port_cnp_sent_packets_total": 6,
            },
        ),
        (
            "rxe0",
            RXE,
            {
                "port_transmit_packets_total": 1_001,
                "port_link_downed_total": 13,
                "port_rnr_retries_exceeded_total": 10,
                "port_receive_sequence_naks_total": 7,
            },
        ),
        ("hfi1_0", HFI1, {"port_transmit_bytes_total": 4 * 1_350_000_007, "port_symbol_errors_total": 12}),
        ("mlx4_0", OLD_KERNEL, {"port_receive_bytes_total": 4 * 8_589_934_592, "port_counters_saturated": 0}),
        ("mlx5_9", MLX5_SWITCHDEV, {"port_receive_out_of_sequence_total": 105}),
    ],
)
def test_counters_of_every_driver(
    world: World, start: Open, name: str, story: Story, expected: dict[str, int]
) -> None:
    one(world, name, story, netdev="eth7")
    values = found(start().sample())
    assert {family: values.get(f"{family} {name} 1") for family in expected} == expected
    assert values[f"port_up {name} 1"] == 1
    assert not any(key.startswith("read_errors") for key in values)


def test_every_file_of_every_driver_is_served(world: World, start: Open) -> None:
    tree = Tree(world.sysfs)
    stories = (MLX5_INFINIBAND, MLX5_ROCE, MLX5_SWITCHDEV, BNXT_RE, IRDMA, HNS, EFA, HFI1, RXE)
    for number, story in enumerate(stories):
        function = tree.function("pci0000:16", f"0000:{number:02x}:00.0")
        tree.rdma(f"{story.driver}_{number}", story, None if story is RXE else function)
    values = found(start().sample())
    for number, story in enumerate(stories):
        device = f"{story.driver}_{number}"
        files = [
            name
            for group in (story.counters, story.hw_counters, story.device_counters)
            for name, value in (group or {}).items()
            if isinstance(value, int)
            and name not in ("lifespan", "db_fifo_register")
            and not name.startswith("ip6")
        ]
        state = ("up", "active", "info", "id", "second", "resets_total", "saturated")
        counted = [name for name in values if f" {device}" in name and not name.split(" ")[0].endswith(state)]
        assert len(counted) == len(files), device


def test_what_has_no_name_is_served_by_the_drivers_own(world: World, start: Open) -> None:
    one(world, "bnxt_re0", BNXT_RE)
    values = found(start().sample())
    assert values["port_hw_stats_total bnxt_re0 1 res_rx_pci_err"] == 14
    assert values["port_resources bnxt_re0 1 qps"] == 6
    assert values["port_resources_peak bnxt_re0 1 qps"] == 60


def test_counters_of_the_device_itself(world: World, start: Open) -> None:
    one(world, "efa_0", EFA)
    values = found(start().sample())
    assert values["device_hw_stats_total efa_0 cmds_err"] == 33
    assert values["port_stats_resets_total efa_0 "] == 0


def test_a_port_without_pma_has_no_such_series_and_no_errors(world: World, start: Open) -> None:
    one(world, "mlx5_0", NO_PMA)
    values = found(start().sample())
    assert "port_transmit_bytes_total mlx5_0 1" not in values
    assert values["port_ack_timeouts_total mlx5_0 1"] == 103
    assert not any(name.startswith("read_errors") for name in values)


@pytest.mark.usefixtures("scan_always")
def test_a_pma_that_comes_to_answer(world: World, start: Open) -> None:
    device = one(world, "mlx5_0", NO_PMA)
    source = start()
    source.sample()
    device.set("counters/port_xmit_data", 7)
    name = "port_transmit_bytes_total mlx5_0 1"
    assert found(source.sample())[name] == 28
    device.set("counters/port_xmit_data", "N/A (no PMA)")
    values = found(source.sample())
    assert name not in values
    assert not any(key.startswith("read_errors") for key in values)


def test_a_soft_device_without_any_counters(world: World, start: Open) -> None:
    one(world, "siw0", SIW, netdev="eth0")
    values = found(start().sample())
    assert values["port_up siw0 1"] == 1
    assert values["port_rate_bytes_per_second siw0 1"] == 2.5 * 125e6
    assert world.board.ports == (Port("siw0", "1", "", ("eth0",), "Ethernet"),)


@pytest.mark.parametrize("error", ["EINVAL", "EIO"])
def test_a_file_that_fails_costs_itself_and_is_counted(world: World, start: Open, error: str) -> None:
    device = one(world, "mlx5_0", MLX5_INFINIBAND)
    before = found(start().sample())
    device.fail("rate", error)
    device.fail("counters/link_downed", error)
    source = start()
    samples = source.sample()
    values = found(samples)
    missing = {"port_rate_bytes_per_second mlx5_0 1", "port_link_downed_total mlx5_0 1"}
    assert values.keys() == before.keys() - missing | {f"read_errors_total mlx5_0 {error}"}
    assert samples.problem is None
    assert values[f"read_errors_total mlx5_0 {error}"] == 2
    assert found(source.sample())[f"read_errors_total mlx5_0 {error}"] == 4


def test_a_file_that_fails_for_a_while_comes_back_with_its_count(world: World, start: Open) -> None:
    device = one(world, "mlx5_0", MLX5_INFINIBAND)
    source = start()
    source.sample()
    device.set("counters/link_downed", "garbled")
    assert "port_link_downed_total mlx5_0 1" not in found(source.sample())
    device.set("counters/link_downed", 3)
    values = found(source.sample())
    assert values["port_link_downed_total mlx5_0 1"] == 3
    assert values["read_errors_total mlx5_0 EBADMSG"] == 1


def test_one_broken_device_of_sixteen(world: World, start: Open) -> None:
    _, devices = many_ports(world.sysfs, 16)
    for attribute in (
        "state",
        "phys_state",
        "rate",
        *(f"counters/{name}" for name in MLX5_INFINIBAND.counters or ()),
    ):
        devices[3].fail(attribute)
    values = found(start().sample())
    with_data = [name for name in values if name.startswith("port_transmit_bytes_total")]
    assert len(with_data) == 15
    assert values["port_up mlx5_3 1"] == 1
    assert values["read_errors_total mlx5_3 EINVAL"] == 24


@pytest.mark.parametrize("known", [True, False])
def test_an_entry_that_cannot_be_looked_at_costs_itself(world: World, start: Open, known: bool) -> None:
    _, devices = many_ports(world.sysfs, 3)
    entry = world.sysfs / "class/infiniband/mlx5_1"
    source = start()
    if known:
        source.sample()
    entry.unlink()
    entry.symlink_to("mlx5_1")
    for misses in (1, 2):
        samples = source.sample()
        values = found(samples)
        assert isinstance(samples.problem, OSError)
        assert values["read_errors_total mlx5_1 ELOOP"] == misses
        ups = [values.get(f"port_up mlx5_{number} 1") for number in range(3)]
        assert ups == [1, 0 if known else None, 1]
        assert "port_transmit_bytes_total mlx5_2 1" in values
    source._save()
    assert found(source.sample())["read_errors_total mlx5_1 ELOOP"] == 3
    entry.unlink()
    entry.symlink_to(devices[1].path)
    assert found(source.sample())["port_up mlx5_1 1"] == 1


@pytest.mark.parametrize("looped", ["device", "device/driver", "ports"])
def test_links_that_lead_to_themselves_cost_their_device_only(world: World, start: Open, looped: str) -> None:
    _, devices = many_ports(world.sysfs, 2)
    link = devices[1].path / looped
    shutil.rmtree(link) if link.is_dir() and not link.is_symlink() else link.unlink()
    link.symlink_to(link.name)
    values = found(start().sample())
    assert values["port_up mlx5_0 1"] == 1
    assert values["read_errors_total mlx5_1 ELOOP"] >= 1
    assert not any(name.startswith("read_errors_total mlx5_0") for name in values)


def test_a_device_that_hangs_from_the_start_is_shown_as_down(
    world: World, start: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "PATIENCE_SECONDS", 2.5)
    _, devices = many_ports(world.sysfs, 2)
    path = devices[1].port / "link_layer"
    devices[1].wedge("link_layer")
    source = start()
    values = found(source.sample())
    assert [values[f"port_up mlx5_{number} 1"] for number in range(2)] == [1, 0]
    os.close(os.open(path, os.O_WRONLY))
    while source._rounds.stuck():
        time.sleep(0.01)
    path.unlink()
    devices[1].set("link_layer", "InfiniBand")
    assert found(source.sample())["port_up mlx5_1 1"] == 1


def test_a_device_that_hangs_costs_itself(world: World, start: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "PATIENCE_SECONDS", 2.5)
    _, devices = many_ports(world.sysfs, 3)
    source = start()
    source.sample()
    path = devices[1].port / "rate"
    devices[1].wedge("rate")
    source._devices["mlx5_1"][1].close()  # as after an ENODEV: the file is opened again, and that blocks
    for misses in (1, 2):
        samples = source.sample()
        values = found(samples)
        assert isinstance(samples.problem, TimeoutError)
        assert "mlx5_1" in str(samples.problem)
        ups = [values[f"port_up mlx5_{number} 1"] for number in range(3)]
        assert ups == [1, 0, 1]
        assert values["read_errors_total mlx5_1 ETIMEDOUT"] == misses
        assert "port_transmit_bytes_total mlx5_1 1" not in values
        assert values["port_transmit_bytes_total mlx5_2 1"] == 4 * 3 * 1_350_000_007
        assert len(world.board.ports or ()) == 3
    os.close(os.open(path, os.O_WRONLY))
    while source._rounds.stuck():
        time.sleep(0.01)
    path.unlink()
    devices[1].set("rate", "400 Gb/sec (4X NDR)")
    samples = source.sample()
    assert samples.problem is None
    assert found(samples)["port_up mlx5_1 1"] == 1


def test_a_device_that_vanishes_and_returns(world: World, start: Open) -> None:
    device = one(world, "mlx5_0", MLX5_INFINIBAND)
    source = start()
    before = found(source.sample())
    device.remove()
    gone = found(source.sample())
    assert gone == {"port_up mlx5_0 1": 0}
    assert world.board.ports == ()
    device.add()
    device.set("counters/port_xmit_data", 5)
    back = found(source.sample())
    assert back["port_up mlx5_0 1"] == 1
    assert back["port_stats_resets_total mlx5_0 1"] == 1
    sent = "port_transmit_bytes_total mlx5_0 1"
    assert back[sent] == before[sent] + 4 * 5
    assert all(back[name] >= value for name, value in before.items() if name.split(" ")[0].endswith("_total"))


def test_a_reload_of_the_driver_counts_nothing_twice(world: World, start: Open) -> None:
    """PerfMgmt's counters stand in the firmware: after the reload they go on where they were."""
    device = one(world, "mlx5_0", MLX5_INFINIBAND)
    source = start()
    before = found(source.sample())
    device.remove()
    source.sample()
    device.add()
    device.set("counters/link_downed", 5)
    device.set("hw_counters/out_of_sequence", 7)
    back = found(source.sample())
    sent, downed, lost = (
        f"port_{name}_total mlx5_0 1" for name in ("transmit_bytes", "link_downed", "receive_out_of_sequence")
    )
    assert back[sent] == before[sent]
    assert back[downed] == 5
    assert back[lost] == before[lost] + 7
    assert back["port_stats_resets_total mlx5_0 1"] == 1


def test_what_was_known_of_a_device_goes_with_it(world: World, start: Open) -> None:
    """Links that flap must not make memory grow until the garbage collector looks at what is old."""
    device = one(world, "mlx5_0", MLX5_INFINIBAND)
    gc.collect()
    others = {found for found in gc.get_objects() if type(found) is Binding}
    source = start()
    source.sample()
    gc.collect()
    device.remove()
    source.sample()
    assert {found for found in gc.get_objects() if type(found) is Binding} == others


def test_a_device_that_vanished_is_missed_by_the_next_agent_and_after_a_reboot(world: World, start: Open) -> None:
    _, devices = many_ports(world.sysfs, 2)
    source = start()
    source.sample()
    source.close()
    devices[0].remove()
    source = start()
    values = found(source.sample())
    assert (values["port_up mlx5_0 1"], values["port_up mlx5_1 1"]) == (0, 1)
    source.close()
    (world.procfs / "sys/kernel/random/boot_id").write_text("second-boot\n")
    values = found(start().sample())
    assert (values["port_up mlx5_0 1"], values["port_up mlx5_1 1"]) == (0, 1)
    assert values["port_stats_resets_total mlx5_1 1"] == 1


def test_a_wrap_is_no_reset_and_outlives_the_agent(world: World, start: Open) -> None:
    device = one(world, "mlx5_0", MLX5_ROCE)
    device.set("hw_counters/out_of_sequence", 2**32 - 10)
    source = start()
    source.sample()
    device.set("hw_counters/out_of_sequence", 5)
    name = "port_receive_out_of_sequence_total mlx5_0 1"
    assert found(source.sample())[name] == 2**32 + 5
    source.close()
    device.set("hw_counters/out_of_sequence", 6)
    values = found(start().sample())
    assert values[name] == 2**32 + 6
    assert values["port_stats_resets_total mlx5_0 1"] == 0


def test_a_killed_agent_loses_nothing(world: World, start: Open) -> None:
    device = one(world, "mlx5_0", MLX5_ROCE)
    first = start()
    first.sample()
    first.close()
    doomed = start()
    name = "port_receive_out_of_sequence_total mlx5_0 1"
    for raw in (2**31, 2**32 - 1, 7):
        device.set("hw_counters/out_of_sequence", raw)
        seen = found(doomed.sample())[name]
        doomed._save() if raw != 7 else None
    device.set("hw_counters/out_of_sequence", 9)
    assert found(start().sample())[name] == seen + 2 == 2**32 + 9


def test_a_reset_is_counted_once_and_saved_at_once(world: World, start: Open) -> None:
    device = one(world, "mlx5_0", MLX5_INFINIBAND)
    device.set("counters/port_xmit_data", 1000)
    source = start()
    source.sample()
    for name in MLX5_INFINIBAND.counters or ():
        device.set(f"counters/{name}", 0)
    values = found(source.sample())
    assert values["port_stats_resets_total mlx5_0 1"] == 1
    assert values["port_transmit_bytes_total mlx5_0 1"] == 4000
    device.set("counters/port_xmit_data", 2000)  # beyond where it stood: only the saved reset tells
    killed, source = source, start()
    values = found(source.sample())
    assert values["port_transmit_bytes_total mlx5_0 1"] == 4000 + 8000
    assert values["port_stats_resets_total mlx5_0 1"] == 1
    assert killed is not source


def test_a_counter_at_its_limit_is_flagged_until_it_is_reset(world: World, start: Open) -> None:
    device = one(world, "mlx5_0", MLX5_INFINIBAND)
    device.set("counters/link_downed", 255)
    device.set("counters/port_xmit_wait", 2**32 - 1)
    device.set("counters/symbol_error", 255)
    source = start()
    values = found(source.sample())
    assert values["port_counters_saturated mlx5_0 1"] == 2
    flagged = {name for name in values if name.startswith("port_counter_saturated")}
    assert flagged == {f"port_counter_saturated mlx5_0 1 {file}" for file in ("link_downed", "port_xmit_wait")}
    device.set("counters/link_downed", 0)
    values = found(source.sample())
    assert values["port_counters_saturated mlx5_0 1"] == 1
    assert values["port_link_downed_total mlx5_0 1"] == 255
    assert values["port_stats_resets_total mlx5_0 1"] == 1


@pytest.mark.parametrize(
    ("state", "phys_state", "operstate", "active"),
    [
        ("4: ACTIVE", "5: LinkUp", "up", 1),
        ("4: ACTIVE", "5: LinkUp", "unknown", 1),
        ("4: ACTIVE", "5: LinkUp", "down", 0),
        ("1: DOWN", "3: Disabled", "down", 0),
        ("4: ACTIVE", "2: Polling", "up", 0),
        ("2: INIT", "5: LinkUp", "up", 0),
    ],
)
def test_a_link_is_active_when_all_say_so(
    world: World, start: Open, state: str, phys_state: str, operstate: str, active: int
) -> None:
    device = one(world, "rocep1", MLX5_ROCE, netdev="eth1")
    device.set("state", state)
    device.set("phys_state", phys_state)
    (world.sysfs / "class/net/eth1/operstate").write_text(f"{operstate}\n")
    values = found(start().sample())
    assert values["port_active rocep1 1"] == active
    assert values["port_up rocep1 1"] == 1


def test_ipoib_says_nothing_of_an_infiniband_link(world: World, start: Open) -> None:
    one(world, "mlx5_0", MLX5_INFINIBAND, netdev="ib0")
    (world.sysfs / "class/net/ib0/operstate").write_text("down\n")
    assert found(start().sample())["port_active mlx5_0 1"] == 1


def test_an_efa_that_calls_itself_active_without_a_carrier(world: World, start: Open) -> None:
    """The network device is another function's: ENA's."""
    tree = Tree(world.sysfs)
    tree.rdma("rdmap0s6", EFA, tree.function("pci0000:00", "0000:00:06.0"), netdev="ens5")
    (world.sysfs / "class/net/ens5/operstate").write_text("down\n")
    assert not (world.sysfs / "class/infiniband/rdmap0s6/device/net").exists()
    assert found(start().sample())["port_active rdmap0s6 1"] == 0
    assert world.board.ports == (Port("rdmap0s6", "1", "0000:00:06.0", ("ens5",), ""),)


def test_a_virtual_function_is_told_from_a_card(world: World, start: Open) -> None:
    tree = Tree(world.sysfs)
    card = tree.function("pci0000:16", "0000:17:00.0")
    tree.rdma("mlx5_0", MLX5_ROCE, card)
    tree.rdma("mlx5_1", MLX5_VIRTUAL_FUNCTION, tree.virtual_function(card, "0000:17:00.2"), seed=2)
    source = start()
    values = found(source.sample())
    assert values["port_receive_bytes_total mlx5_1 1"] == 4 * 2 * 17
    assert {known.device: known.removable for known in source._inventory} == {"mlx5_0": False, "mlx5_1": True}


def test_files_that_mean_the_same_share_no_series(world: World, start: Open) -> None:
    one(world, "bnxt_re0", replace(BNXT_RE, counters={"port_xmit_data": 3}))
    values = found(start().sample())
    assert values["port_transmit_bytes_total bnxt_re0 1"] == 12
    assert values["port_hw_stats_total bnxt_re0 1 tx_bytes"] == 2_000_003


def test_a_counter_that_keeps_its_own_name_keeps_its_width(world: World, start: Open) -> None:
    device = one(world, "bnxt_re0", replace(BNXT_RE, counters={"port_xmit_data": 3}))
    device.set("hw_counters/tx_bytes", 2**48 - 10)
    source = start()
    source.sample()
    device.set("hw_counters/tx_bytes", 5)
    values = found(source.sample())
    assert values["port_hw_stats_total bnxt_re0 1 tx_bytes"] == 2**48 + 5
    assert values["port_stats_resets_total bnxt_re0 1"] == 0


def test_a_counter_that_keeps_its_own_name_keeps_its_unit(world: World, start: Open) -> None:
    one(world, "mlx4_0", OLD_KERNEL)
    values = found(start().sample())
    assert values["port_hw_stats_total mlx4_0 1 port_rcv_data"] == 4 * 4_294_967_295
    assert values["port_counters_saturated mlx4_0 1"] == 0


def test_a_first_look_at_thousands_of_files_is_linear(world: World, start: Open) -> None:
    """The look-ups of a series are counted, as time on a busy machine says nothing."""
    device = one(world, "mlx5_0", MLX5_INFINIBAND)
    for number in range(3000):
        device.set(f"hw_counters/c{number}", 1)

    class Bindings(dict[str, Binding]):
        walks = 0

        def values(self) -> Any:
            Bindings.walks += 1
            return super().values()

    source = start()
    source._match(source._lives()[0])
    found_device = source._devices["mlx5_0"][1]
    found_device._bindings = Bindings()
    values = found(source.sample())
    assert values["port_hw_stats_total mlx5_0 1 c2999"] == 1
    assert Bindings.walks < 10


@pytest.mark.parametrize("text", ["-5", "1_000", "18446744073709551616"])
def test_a_counter_that_is_no_unsigned_number_is_garbled(world: World, start: Open, text: str) -> None:
    device = one(world, "mlx5_0", MLX5_INFINIBAND)
    device.set("counters/link_downed", text)
    values = found(start().sample())
    assert "port_link_downed_total mlx5_0 1" not in values
    assert values["read_errors_total mlx5_0 EBADMSG"] == 1


@pytest.mark.usefixtures("scan_always")
def test_counters_and_ports_that_come_and_go(world: World, start: Open) -> None:
    device = one(world, "mlx5_0", MLX5_INFINIBAND)
    source = start()
    source.sample()
    device.set("hw_counters/brand_new", 5)
    (device.port / "hw_counters/out_of_buffer").unlink()
    device.port.with_name("2").mkdir()
    (device.port.with_name("2") / "state").write_text("1: DOWN\n")
    values = found(source.sample())
    assert values["port_hw_stats_total mlx5_0 1 brand_new"] == 5
    assert "port_receive_out_of_buffer_total mlx5_0 1" not in values
    assert values["port_up mlx5_0 2"] == 1
    shutil.rmtree(device.port.with_name("2"))
    values = found(source.sample())
    assert (values["port_up mlx5_0 1"], values["port_up mlx5_0 2"]) == (1, 0)


def test_a_whole_machine_within_its_budget(world: World, start: Open) -> None:
    dgx(world.sysfs)
    source = start()
    renderer = Renderer(source.families, budget=10_000)
    section = renderer.render(source.sample())
    assert section.series <= 10 * 80
    ports = world.board.ports or ()
    assert [port.device for port in ports] == [f"mlx5_{number}" for number in range(10)]
    assert {port.link_layer for port in ports[:8]} == {"InfiniBand"}
    assert [port.netdevs for port in ports[8:]] == [("ens8np0",), ("ens9np0",)]


def test_descriptors_are_let_go(world: World, start: Open) -> None:
    _, devices = many_ports(world.sysfs, 2)

    def held() -> int:
        links = [link.resolve() for link in Path("/proc/self/fd").iterdir()]
        return sum(link.is_relative_to(world.sysfs) for link in links)

    source = start()
    for _ in range(3):
        source.sample()
    with_two = held()
    devices[0].remove()
    source.sample()
    assert held() == with_two // 2 > 0
    source.close()
    assert held() == 0


def test_names_of_series_stay_when_counters_move(world: World, start: Open) -> None:
    """A series once served is served in every later sample: nothing flickers."""
    _, devices = many_ports(world.sysfs, 2, MLX5_ROCE)
    source = start()
    names = set(found(source.sample()))
    for device, raw in itertools.product(devices, (0, 5, 2**32 - 1, 3)):
        device.set("hw_counters/packet_seq_err", raw)
        assert set(found(source.sample())) == names
