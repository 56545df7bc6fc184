"""A node at work, seen by a real agent: eight GPUs behind a stand-in for NVML, ten RDMA ports, eight ranks.

Each rank is in a pod of its own, which a real pod-resources API names.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from exporter_process import series
from kubelet import Kubelet
from node_tree import NodeTree
from nvml_stub import device_uuid
from paceline_service import Service
from podresources import allocatable, pod, pods
from prometheus_client.parser import text_string_to_metric_families
from prometheus_server import PROGRAM, prometheus
from training_node import RANKS, TrainingNode

from paceline_dashboards.prometheus import Prometheus

GOLDEN = Path(__file__).parent / "golden" / "node.families"
OF_THE_HARDWARE = ("gpu", "rdma", "rails", "owners", "steps")
"""Sources whose families this node decides, whatever machine the test runs on."""
HOSTS_FILES = ("diskstats", "loadavg", "meminfo", "mounts", "net", "pressure", "self", "stat", "sys", "vmstat")
"""What procfs says of the test's machine."""
BITS_32 = 2**32
OWNED_BY = "* on (instance, {device}) group_left (pod, rank) paceline_{kind}_owner_info"
JOINS = {
    f"paceline_gpu_power_watts {OWNED_BY.format(device='uuid', kind='gpu')}": "uuid",
    f"paceline_rdma_port_active {OWNED_BY.format(device='device', kind='nic')}": "device",
    "paceline_step_number * on (instance, run_id, rank) group_left (uuid, pod) ("
    "paceline_rank_gpu_info * on (instance, run_id, rank) group_left (pod) paceline_rank_owner_info)": "uuid",
}
"""Expression -> the label that names the device."""
Until = Callable[[Callable[[], Any], str], Any]

pytestmark = pytest.mark.slow


class Node:
    """The machine and its agent."""

    def __init__(self, root: Path, builds: Path) -> None:
        self.root = root
        self.tree = NodeTree(root)
        self.training = TrainingNode(root, builds)
        self.driver, self.nics = self.training.driver, self.training.devices
        self.kubelet = Kubelet(root)
        self.log = root / "dev/kmsg"
        self.agent = Service(root, self._command(), {**os.environ, **self.training.environment})

    def start(self) -> None:
        """Ranks, pods, agent."""
        self.training.__enter__()
        for name in HOSTS_FILES:
            (self.tree.procfs / name).symlink_to(f"/proc/{name}")
        self.log.parent.mkdir()
        self.log.write_text("6,1,1000,-;Linux version 6.8.0\n")
        for rank, pid, _ in self.driver.settings.processes:
            uid, container = f"8f1b2c3d-0a1b-4c2d-9e8f-00112233440{rank}", f"{rank:02x}" * 32
            self.tree.process(pid, cgroup=f"/kubepods/burstable/pod{uid}/{container}", environ={})
            self.tree.log_link("ml", f"train-{rank}", "trainer", container)
        self.kubelet.start()
        self.kubelet.answer(pods(*map(self._pod, range(RANKS))), allocatable(self._devices(range(RANKS))))
        self.agent.start()

    def stop(self) -> None:
        """All of it."""
        self.agent.kill()
        self.kubelet.kill()
        self.training.__exit__(None, None, None)

    def page(self, *names: str) -> str:
        """A scrape, of all or of some sources."""
        query = "&".join(f"name[]={name}" for name in names)
        with urllib.request.urlopen(f"{self.agent.url}/metrics?{query}", timeout=30) as answer:
            text: str = answer.read().decode()
        return text

    def values(self, family: str, **labels: str) -> list[float]:
        """Of the series with these labels."""
        found = series(self.page(), family)
        return [value for has, value in found if labels.items() <= has.items()]

    def children(self) -> list[psutil.Process]:
        """Processes of the agent that own NVML."""
        return [one for one in psutil.process_iter() if _owns_nvml(one, self.root)]

    def _command(self) -> list[str | Path]:
        roots = [f"--path.procfs={self.tree.procfs}", f"--path.rootfs={self.root}"]
        return ["agent", *self.training.flags, *roots, "--node=node-a", "--compat=node_exporter"]

    def _pod(self, rank: int) -> dict[str, Any]:
        return pod(f"train-{rank}", self._devices([rank]), container="trainer")

    def _devices(self, numbers: Any) -> dict[str, list[str]]:
        functions = [self.nics[number].path.parents[1].name for number in numbers]
        return {"nvidia.com/gpu": [device_uuid(number) for number in numbers], "nvidia.com/rdma": functions}


def _owns_nvml(process: psutil.Process, root: Path) -> bool:
    try:
        named = process.environ().get("PACELINE_NVML_STUB", "")
        return str(root) in named and "child.main" in " ".join(process.cmdline())
    except psutil.Error:  # it ended, or is not ours
        return False


@pytest.fixture(scope="module")
def node(nvml_library: Path) -> Iterator[Node]:
    """One for all tests: each leaves it healthy."""
    with tempfile.TemporaryDirectory(prefix="node-") as name:  # short: a socket's path has 107 characters at most
        one = Node(Path(name), nvml_library)
        try:
            one.start()
            yield one
        finally:
            one.stop()


@pytest.fixture
def healthy(node: Node, until: Until) -> Node:
    """All that can be seen is seen: activity takes two readings, owners need the other sources first."""
    until(lambda: len(node.values("paceline_gpu_sm_active_ratio")) == RANKS, "activity of all GPUs")
    until(lambda: len(node.values("paceline_gpu_owner_info", namespace="ml")) == RANKS, "owners of all GPUs")
    until(lambda: len(node.values("paceline_nic_owner_info", namespace="ml")) == RANKS, "owners of NICs")
    until(lambda: node.values("paceline_gpu_affinity_info", uuid=device_uuid(0)), "places of GPUs by UUID")
    return node


def families(text: str) -> Iterator[str]:
    """`name type labels` of each family that has series."""
    for family in text_string_to_metric_families(text):
        labels = sorted({label for sample in family.samples for label in sample.labels})
        name = family.name + ("_total" if family.type == "counter" else "")
        yield " ".join([name, family.type, ",".join(labels)]).rstrip()


def test_golden_families(healthy: Node, until: Until) -> None:
    """Names, types and labels of what the hardware's sources show; `UPDATE_GOLDEN=1` writes it anew."""

    def text() -> str:
        return "\n".join(sorted(families(healthy.page(*OF_THE_HARDWARE)))) + "\n"

    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text())
    seen = [text()]

    def is_whole() -> bool:
        if seen[-1] != GOLDEN.read_text():
            seen.append(text())
        return seen[-1] == GOLDEN.read_text()

    with contextlib.suppress(AssertionError):  # what differs is said below
        until(is_whole, "all of them on one page")
    assert seen[-1] == GOLDEN.read_text()


def test_all_sources_are_well(healthy: Node, until: Until) -> None:
    until(lambda: min(healthy.values("paceline_agent_source_success")) == 1, "success of all sources")
    assert len(healthy.values("paceline_agent_source_success")) >= len(OF_THE_HARDWARE) + 1
    assert len(healthy.values("paceline_rdma_port_up")) == len(healthy.nics)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_promtool_finds_nothing_to_say(healthy: Node) -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=healthy.page(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.skipif(PROGRAM is None, reason="prometheus is not installed (Debian: prometheus)")
def test_prometheus_joins_gpu_nic_rank_and_pod(healthy: Node, until: Until, tmp_path: Path) -> None:
    target = {"job_name": "node", "static_configs": [{"targets": [healthy.agent.address]}]}
    configuration = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [target]}
    with prometheus(tmp_path, yaml.safe_dump(configuration)) as url:
        server = Prometheus(url)
        until(lambda: _instant(server, "up == 1"), "a scrape that is well")
        for expression, device in JOINS.items():
            found = until(partial(_instant, server, expression), expression)
            told = {(labels[device], labels["rank"], labels["pod"]) for labels in found}
            names = [device_uuid(rank) if device == "uuid" else f"mlx5_{rank}" for rank in range(RANKS)]
            assert told == {(name, str(rank), f"train-{rank}") for rank, name in enumerate(names)}


def _instant(server: Prometheus, expression: str) -> list[Mapping[str, str]]:
    return [one["metric"] for one in server.get("query", query=expression)["result"]]


def test_a_driver_that_hangs_costs_the_gpus_only(healthy: Node, until: Until) -> None:
    healthy.driver.set(hang="*")
    try:
        until(lambda: healthy.values("paceline_gpu_up") == [0] * RANKS, "no GPU up, and none vanished")
        until(lambda: not healthy.values("paceline_gpu_power_watts"), "no measurement left")
        steps = max(healthy.values("paceline_step_number"), default=0)
        until(lambda: max(healthy.values("paceline_step_number"), default=0) > steps, "further steps")
        until(lambda: _failed(healthy) <= {"gpu"}, "success of all other sources")
        ages = partial(healthy.values, "paceline_agent_source_age_seconds", source="rdma")
        until(lambda: max(ages(), default=math.inf) < 10, "fresh counters")
    finally:
        healthy.driver.healthy()
        healthy.training.tell_driver()
    until(lambda: sum(healthy.values("paceline_gpu_up")) == RANKS, "all GPUs up again")
    until(lambda: len(healthy.values("paceline_gpu_power_watts")) == RANKS, "their measurements")
    assert sum(healthy.values("paceline_nvml_deadline_misses_total")) >= 1


def _failed(node: Node) -> set[str]:
    pages = series(node.page("agent"), "paceline_agent_source_success")
    return {labels["source"] for labels, value in pages if value == 0}


def test_counters_outlive_a_killed_agent_and_its_child_does_not(healthy: Node, until: Until) -> None:
    def xids() -> float:
        return sum(healthy.values("paceline_gpu_xid_total", uuid=device_uuid(3), xid="79"))

    def naks() -> float:
        return sum(healthy.values("paceline_rdma_port_receive_sequence_naks_total", device="mlx5_2"))

    fault = _fault(healthy)
    with healthy.log.open("a") as log:
        log.write(fault)
    healthy.driver.xid(3, 79)
    until(lambda: xids() >= 1, "the XID")
    healthy.nics[2].set("hw_counters/packet_seq_err", BITS_32 - 10)
    until(lambda: naks() == BITS_32 - 10, "a counter that is nearly full")
    healthy.nics[2].set("hw_counters/packet_seq_err", 5)
    until(lambda: naks() == BITS_32 + 5, "the counter, extended over its wrap")
    wrapped, state = time.time(), healthy.root / "state/node-a"
    until(lambda: (state / "rdma.json").stat().st_mtime > wrapped, "the counter kept")
    until(lambda: ",79," in (state / "xid.json").read_text(), "the XID kept")
    [child] = until(lambda: len(found := healthy.children()) == 1 and found, "the one child")
    healthy.agent.kill()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the end of the child")
    healthy.agent.start()
    until(lambda: naks() == BITS_32 + 5, "the counter")
    until(lambda: sum(healthy.values("paceline_gpu_up")) == RANKS, "all GPUs")
    until(xids, "the XID again")
    assert xids() == 1, "told by NVML and by the kernel log, and read again by the second agent: it is one"


def _fault(node: Node) -> str:
    """The kernel's word on a GPU that fell off the bus, now."""
    bus = node.driver.settings.pci_buses[3]
    microseconds = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    return f"3,2,{microseconds},-;NVRM: Xid (PCI:0000:{bus:02x}:00): 79, pid=1234, GPU has fallen off the bus.\n"
