"""A real Prometheus scrapes a real agent on a node at work, whose NVML and sysfs are stand-ins.

Every query of the Node dashboard then has an answer, and of the Job dashboard's those that are about GPUs; every
recording rule of devices records; faults raise their alerts.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from nvml_stub import device_uuid
from paceline_service import Service
from prometheus_server import PROGRAM, prometheus
from training_node import RANKS, RUN, TrainingNode

from paceline_dashboards.prometheus import Prometheus
from paceline_dashboards.reading import asked, filled

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 120.0
MIG, LOST = 6, 7
"""GPUs: in MIG mode; lost in the end."""
OF_DEVICES = ("gpu:", "port:", "nic:")
"""Recording rules about these."""
NO_KUBELET = "there is no kubelet"
NO_ETHTOOL = "the network devices are files: no driver answers an ioctl about them"
NO_LIMIT = "the ranks' control groups may have no limit"
NO_NFS = "nothing is mounted by NFS"
OF_THE_MACHINE = "the machine that the test runs on may have none"
NOTHING_TO_SEE = {
    "Devices that the kubelet gave away": NO_KUBELET,
    "Access": NO_KUBELET,
    "Processes on GPUs that belong to no rank": "only ranks compute",
    "Paused by PFC": NO_ETHTOOL,
    "Paused as a whole": NO_ETHTOOL,
    "Discards and faults of network devices": NO_ETHTOOL,
    "PCIe cannot keep up": NO_ETHTOOL,
    "What the driver asks for since XID 154": "no XID 154 is in the log",
    "Killed for want of memory": NO_LIMIT,
    "Memory of ranks against their limits": NO_LIMIT,
    "Kept from the CPU by a limit": NO_LIMIT,
    "NFS": NO_NFS,
    "Pressure": OF_THE_MACHINE,
    "Disks at work": OF_THE_MACHINE,
    "What cannot be seen": "all can",
}
"""Panels with a query that may rightly have no series here, and why."""
GPU_ROWS = {"GPUs of the ranks"}


class Scene:
    """What ran, and who saw it."""

    def __init__(self, server: Prometheus, began: float) -> None:
        self.server, self.began = server, began

    def series(self, expression: str) -> list[dict[str, str]]:
        """Labels of the expression's series that had a number at any time."""
        found = self.server.range(expression, self.began, time.time(), 1.0)
        return [dict(one.labels) for one in found if any(value == value for _, value in one.points)]

    def until(self, expression: str, holds: Callable[[list[dict[str, str]]], Any]) -> list[dict[str, str]]:
        """The series that hold now, once they are as they should be."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            data = self.server.get("query", query=expression)["result"]
            now = [dict(one["metric"]) for one in data]
            if holds(now):
                return now
            assert time.monotonic() < deadline, f"{expression}: {now}"
            time.sleep(0.5)

    def alert(self, name: str, gpu: int, holds: Callable[[dict[str, str]], bool] = bool) -> dict[str, str]:
        """What a GPU's alert says, once there is one and that is as it should be: whose the GPU is, is not known
        while a scrape fails."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        wanted = {"alertname": name, "uuid": device_uuid(gpu)}.items()
        while True:
            alerts = self.server.get("alerts")["alerts"]
            found = [one["annotations"] for one in alerts if wanted <= one["labels"].items()]
            for said in filter(holds, found):
                return dict(said)
            assert time.monotonic() < deadline, f"{name}: {alerts}"
            time.sleep(0.5)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, nvml_library: Path) -> Iterator[Scene]:
    """A node with eight GPUs, one of them in MIG mode and one that is lost while it is watched."""
    if PROGRAM is None:
        pytest.skip("prometheus is not here: Debian's package prometheus brings it")
    root = tmp_path_factory.mktemp("node")
    node = TrainingNode(root, nvml_library)
    node.driver.set(mig=[MIG], values={"clocks_event_reasons": 4})
    environment = {**os.environ, **node.environment}
    agent = Service(root, ["agent", *node.flags, "--node=node-a"], environment)
    with node:
        try:
            agent.start()
            with prometheus(root, _configuration(agent.address)) as url:
                yield _watched(Scene(Prometheus(url), time.time()), node)
        finally:
            agent.kill()


def _configuration(address: str) -> str:
    rules = [str(ROOT / "dashboards" / "rules" / f"{name}.yaml") for name in ("recording", "alerts")]
    job = {"job_name": "paceline-agent", "static_configs": [{"targets": [address]}]}
    times = {"scrape_interval": "1s", "evaluation_interval": "1s", "scrape_timeout": "1s"}
    return yaml.safe_dump({"global": times, "rule_files": rules, "scrape_configs": [job]})


def _watched(scene: Scene, node: TrainingNode) -> Scene:
    """Let all be seen that comes late: activity, owners, rails, an XID, a lost GPU."""
    scene.until("paceline_mig_sm_active_ratio", bool)
    scene.until("paceline_gpu_sm_active_ratio", lambda found: len(found) >= RANKS - 1)
    scene.until("paceline_rank_gpu_info", lambda found: len(found) == RANKS)
    # Before NVML has told, a rail is known by its GPU's PCI function only.
    scene.until('paceline_rail_info{uuid!=""}', lambda found: len(found) >= RANKS - 1)
    scene.until("paceline_gpu_owner_info", lambda found: len(found) >= RANKS - 1)
    node.driver.xid(2, 79)
    scene.until('paceline_gpu_xid_total{xid="79"} == 1', bool)
    node.driver.set(lost=[LOST])
    scene.until("paceline_gpu_down_info", bool)
    # Rates need two samples of a source, the slower of which take one in 5 s.
    ports = len(node.devices)
    scene.until("rate(paceline_rdma_port_transmit_bytes_total[10s]) > 0", lambda found: len(found) == ports)
    scene.until("count_over_time(paceline_gpu_down_info[20s]) > 5", bool)
    return scene


def _silent(scene: Scene, name: str, wanted: Callable[[str], bool]) -> list[str]:
    dashboard = json.loads((ROOT / "dashboards" / f"{name}.json").read_text())
    values = {"node": "node-a", "instance": ".*", "run_id": str(RUN["run_id"]), "rank": ".*"}
    values |= {"__rate_interval": "10s", "__range": "30s"}
    row, silent, asked_count = "", [], 0
    rows = {}
    for panel in dashboard["panels"]:
        row = panel["title"] if panel["type"] == "row" else row
        rows[panel["id"]] = row
    for one in asked(dashboard):
        if not wanted(rows[one.panel["id"]]) or one.title in NOTHING_TO_SEE:
            continue
        asked_count += 1
        expression = filled(one.expression, values)
        if not scene.series(expression):
            silent.append(f"{one.title} {one.ref}: {expression}")
    assert asked_count
    return silent


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rows"), [("node", None), ("job", GPU_ROWS)])
def test_every_query_has_an_answer(scene: Scene, name: str, rows: set[str] | None) -> None:
    silent = _silent(scene, name, lambda row: rows is None or row in rows)
    assert not silent, "\n".join(silent)


@pytest.mark.slow
def test_what_is_said_to_have_no_data_is_on_the_dashboard(scene: Scene) -> None:
    dashboard = json.loads((ROOT / "dashboards" / "node.json").read_text())
    titles = {panel["title"] for panel in dashboard["panels"]}
    assert NOTHING_TO_SEE.keys() <= titles
    ethtool = [one for one in asked(dashboard) if NOTHING_TO_SEE.get(one.title) == NO_ETHTOOL]
    values = {"node": "node-a", "instance": ".*", "__rate_interval": "10s", "__range": "30s"}
    assert not [one.title for one in ethtool if scene.series(filled(one.expression, values))]


@pytest.mark.slow
def test_the_table_of_devices_joins_gpu_nic_and_rank(scene: Scene) -> None:
    dashboard = json.loads((ROOT / "dashboards" / "node.json").read_text())
    (table,) = [one for one in asked(dashboard) if one.title == "Devices, and whose they are"]
    # A GPU in MIG mode has a rank's process in an instance; a lost one is close to nothing any more.
    whole = {(device_uuid(rank), f"mlx5_{rank}", str(rank)) for rank in range(RANKS) if rank not in (MIG, LOST)}
    both = {device_uuid(MIG, 0), device_uuid(MIG, 1)}

    def holds(rows: list[dict[str, str]]) -> bool:
        joined = {(one["uuid"], one["device"], one["rank"]) for one in rows if "device" in one and "rank" in one}
        return whole <= joined and both == {one["uuid"] for one in rows if one.get("parent") == device_uuid(MIG)}

    found = scene.until(filled(table.expression, {"instance": ".*"}), holds)
    keys = [(one["uuid"], one.get("device"), one.get("port")) for one in found]
    assert len(set(keys)) == len(keys), "a GPU stands twice beside the same port"


@pytest.mark.slow
def test_every_recording_rule_of_devices_records(scene: Scene) -> None:
    groups = scene.server.get("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert not [rule["lastError"] for rule in rules if rule.get("lastError")]
    names = [rule["name"] for rule in rules if rule["name"].startswith(OF_DEVICES)]
    assert len(names) >= 5
    silent = {name for name in names if not scene.series(name)}
    assert silent == {"nic:paceline_nic_pfc_pause:share5m"}, NO_ETHTOOL


@pytest.mark.slow
def test_the_faults_raise_their_alerts_and_name_whose_it_is(scene: Scene) -> None:
    firing = scene.until('ALERTS{alertname="PacelineGpuFault", alertstate="firing"}', bool)
    assert [(one["uuid"], one["xid"]) for one in firing] == [(device_uuid(2), "79")]
    held = f"Held by run {RUN['run_id']} rank 2"
    fault = scene.alert("PacelineGpuFault", 2, lambda said: held in said["description"])
    assert "on GPU 2 " in fault["summary"]
    scene.alert("PacelineGpuLost", LOST)
