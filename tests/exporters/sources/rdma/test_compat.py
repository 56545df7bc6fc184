"""The same tree read by the real node_exporter: same series, same values."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sysfs_trees import (
    BNXT_RE,
    EFA,
    HFI1,
    HNS,
    IRDMA,
    MLX5_INFINIBAND,
    MLX5_ROCE,
    MLX5_VIRTUAL_FUNCTION,
    NO_PMA,
    OLD_KERNEL,
    RXE,
    Story,
    Tree,
    dgx,
    many_ports,
)

from paceline_exporters.metrics import Renderer, Samples
from paceline_exporters.sources.contract import World
from paceline_exporters.sources.rdma import compat, create

NODE_EXPORTER = "prometheus-node-exporter"
LINE = re.compile(r"node_infiniband_(\w+)\{(.*)\} (\S+)\Z")
Series = dict[tuple[str, str], float]


def infiniband(text: str) -> Series:
    """(name, labels in order of their names) -> value."""
    matches = (LINE.match(line) for line in text.splitlines())
    return {
        (found[1], ",".join(sorted(found[2].split(",")))): float(found[3])
        for found in matches
        if found is not None
    }


def types(text: str) -> dict[str, str]:
    return dict(re.findall(r"^# TYPE (node_infiniband_\w+) (\w+)$", text, re.MULTILINE))


def paceline(sysfs: Path) -> str:
    source = create(World(sysfs=sysfs, procfs=sysfs / "proc", compat=frozenset({"node_exporter"})))
    try:
        return Renderer(source.families, budget=10_000).render(source.sample()).plain("text").decode()
    finally:
        source.close()


def peer(sysfs: Path) -> str:
    """What node_exporter serves of the tree."""
    with node_exporter(sysfs) as url, urllib.request.urlopen(url, timeout=30) as answer:
        body: bytes = answer.read()
    return body.decode()


@contextmanager
def node_exporter(sysfs: Path) -> Iterator[str]:
    if shutil.which(NODE_EXPORTER) is None:
        pytest.skip(f"{NODE_EXPORTER} is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    arguments = ["--collector.disable-defaults", "--collector.infiniband", "--web.disable-exporter-metrics"]
    command = [NODE_EXPORTER, f"--path.sysfs={sysfs}", f"--web.listen-address={address}", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(address)
        yield f"http://{address}/metrics"
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(address: str) -> None:
    host, port = address.split(":")
    until = time.monotonic() + 60
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return


def ports_of(story: Story) -> Callable[[Path], object]:
    return lambda root: many_ports(root, 2, story)


def saturated(root: Path) -> None:
    _, devices = many_ports(root, 1)
    devices[0].set("counters/link_downed", 255)
    devices[0].set("counters/port_xmit_data", 2**64 // 4 - 1)
    devices[0].set("rate", "2.5 Gb/sec (1X SDR)")
    devices[0].set("state", "1: DOWN")
    devices[0].set("phys_state", "3: Disabled")


TREES: dict[str, Callable[[Path], object]] = {
    "a whole machine": dgx,
    "RoCE": ports_of(MLX5_ROCE),
    "virtual functions": ports_of(MLX5_VIRTUAL_FUNCTION),
    "no PMA": ports_of(NO_PMA),
    "before Linux 4.5": ports_of(OLD_KERNEL),
    "Omni-Path": ports_of(HFI1),
    "a link that is down": saturated,
}


@pytest.mark.parametrize("tree", TREES)
def test_same_series_and_values_as_node_exporter(tmp_path: Path, tree: str) -> None:
    TREES[tree](tmp_path)
    theirs, ours = peer(tmp_path), paceline(tmp_path)
    expected, served = infiniband(theirs), infiniband(ours)
    assert len(expected) >= 8
    # Release 1.5 does not read hw_counters; later ones do.
    later = {f"{name}_total" for name in compat.HARDWARE.values()} | {"lifespan_seconds"}
    assert {series: value for series, value in served.items() if series[0] not in later} == expected
    kinds = types(ours)
    assert {name: kinds[name] for name in types(theirs)} == types(theirs)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_a_linter_finds_nothing(tmp_path: Path) -> None:
    tree, _ = dgx(tmp_path)
    for number, story in enumerate((EFA, BNXT_RE, IRDMA, HNS, HFI1, OLD_KERNEL)):
        tree.rdma(f"other_{number}", story, tree.function("pci0000:01", f"0000:02:{number:02x}.0"))
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=paceline(tmp_path), text=True, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_where_one_file_fails_it_serves_nothing_and_we_the_rest(tmp_path: Path) -> None:
    _, devices = many_ports(tmp_path, 3)
    before = infiniband(paceline(tmp_path))
    devices[1].fail("rate")
    assert infiniband(peer(tmp_path)) == {}
    lost = {("rate_bytes_per_second", 'device="mlx5_1",port="1"')}
    assert infiniband(paceline(tmp_path)).keys() == before.keys() - lost


def test_a_device_without_a_board_id_is_too_much_for_it(tmp_path: Path) -> None:
    many_ports(tmp_path, 1, replace(MLX5_INFINIBAND, about={"fw_ver": "1.0", "hca_type": "MT4129"}))
    assert infiniband(peer(tmp_path)) == {}
    served = infiniband(paceline(tmp_path))
    assert served["info", 'device="mlx5_0",firmware_version="1.0",hca_type="MT4129"'] == 1


def test_a_soft_device_of_which_it_serves_nothing(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.rdma("rxe0", RXE, netdev="eth0")
    assert infiniband(peer(tmp_path)) == {}
    served = infiniband(paceline(tmp_path))
    assert served["rate_bytes_per_second", 'device="rxe0",port="1"'] == 312.5e6
    assert served["state_id", 'device="rxe0",port="1"'] == 4


def test_counters_of_the_driver_under_its_later_names(tmp_path: Path) -> None:
    many_ports(tmp_path, 1, MLX5_ROCE)
    served = infiniband(paceline(tmp_path))
    port = 'device="mlx5_0",port="1"'
    values = {file: served[f"{name}_total", port] for file, name in compat.HARDWARE.items()}
    assert values == {file: (MLX5_ROCE.hw_counters or {})[file] for file in compat.HARDWARE}
    assert served["lifespan_seconds", port] == 0.01


def test_values_are_the_hardwares_own(tmp_path: Path) -> None:
    """As node_exporter has them: a reset shows as one, which Prometheus knows how to handle."""
    _, devices = many_ports(tmp_path, 1)
    source = create(World(sysfs=tmp_path, procfs=tmp_path, compat=frozenset({"node_exporter"})))
    source.sample()
    devices[0].set("counters/symbol_error", 3)
    samples: Samples = source.sample()
    shown = {family.name: points for family, points in samples.points.items()}
    assert shown["node_infiniband_symbol_error_total"] == {("mlx5_0", "1"): 3}
    assert shown["paceline_rdma_port_symbol_errors_total"] == {("mlx5_0", "1"): 12 + 3}
    source.close()


def test_without_being_asked_for_it_is_not_there(tmp_path: Path) -> None:
    many_ports(tmp_path, 1)
    source = create(World(sysfs=tmp_path, procfs=tmp_path))
    assert not any(family.name.startswith("node_") for family in source.families)
    assert not any(family.name.startswith("node_") for family in source.sample().points)
    source.close()
