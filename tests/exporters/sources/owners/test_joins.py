"""The queries of the package's documentation, answered by Prometheus's own engine on what the source serves."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from kubelet import Kubelet
from node_tree import NodeTree
from podresources import pod, pods

from paceline_exporters.metrics import Renderer
from paceline_exporters.sources.board import Gpu, GpuProcess, Port, Seat
from paceline_exporters.sources.contract import World
from paceline_exporters.sources.owners import OwnersSource

U = [f"GPU-0000000{n}-aaaa-bbbb-cccc-0123456789ab" for n in range(2)]
INSTANCE = 'instance="node-a"'
DEVICES = [
    *(f'paceline_gpu_power_watts{{uuid="{uuid}"}} {700 + n}' for n, uuid in enumerate(U)),
    'paceline_rdma_port_transmit_bytes_total{device="mlx5_0",port="1"} 600',
    'paceline_step_loss{run_id="r",rank="0"} 2',
]
# Query -> labels and value of each result.
QUERIES = {
    "paceline_gpu_power_watts * on (instance, uuid) group_left (pod, rank) paceline_gpu_owner_info": {
        f'{{{INSTANCE}, pod="a", rank="0", uuid="{U[0]}"}}': 700,
        f'{{{INSTANCE}, pod="b", uuid="{U[1]}"}}': 701,
    },
    "paceline_rdma_port_transmit_bytes_total * on (instance, device) group_left (pod) paceline_nic_owner_info": {
        f'{{device="mlx5_0", {INSTANCE}, pod="a", port="1"}}': 600,
    },
    "paceline_step_loss * on (instance, run_id, rank) group_left (uuid) paceline_rank_gpu_info": {
        f'{{{INSTANCE}, rank="0", run_id="r", uuid="{U[0]}"}}': 2,
    },
    "paceline_gpu_owners > 1": {f'paceline_gpu_owners{{{INSTANCE}, uuid="{U[0]}"}}': 2},
}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_the_documented_joins(node: NodeTree, kubelet: Kubelet, tmp_path: Path) -> None:
    world = World(procfs=node.procfs, sysfs=node.sysfs, rootfs=node.rootfs)
    world.board.gpus = tuple(Gpu(uuid, n, f"0000:{n}b:00.0") for n, uuid in enumerate(U))
    world.board.ports = (Port("mlx5_0", "1", "0000:0a:00.0", (), "InfiniBand"),)
    node.process(200, cgroup="/kubepods/pod8f1b2c3d-0a1b-4c2d-9e8f-001122334455/" + "a1" * 32)
    node.process(900, uid=1003)
    world.board.seats = (Seat("r", "0", 200, ""),)
    world.board.gpu_processes = (GpuProcess(U[0], 200, 5), GpuProcess(U[0], 900, 5))
    kubelet.start()
    kubelet.answer(pods(pod("a", {"gpu": [U[0]], "sriov": ["0000:0a:00.0"]}), pod("b", {"gpu": [f"{U[1]}::0"]})))
    source = OwnersSource(world)
    section = Renderer(source.families, 1000).render(source.sample())
    served = [line for line in section.plain("text").decode().splitlines() if not line.startswith("#")]
    inputs = [line.rpartition(" ") for line in (*served, *DEVICES)]
    series = [{"series": with_instance(name), "values": value} for name, _, value in inputs]
    tests = [
        {"expr": query, "exp_samples": [{"labels": labels, "value": value} for labels, value in expected.items()]}
        for query, expected in QUERIES.items()
    ]
    document = {"tests": [{"input_series": series, "promql_expr_test": tests}]}  # JSON is YAML
    (tmp_path / "joins.yml").write_text(json.dumps(document))
    command = ["promtool", "test", "rules", str(tmp_path / "joins.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def with_instance(series: str) -> str:
    """As Prometheus stores it."""
    return series.replace("{", f"{{{INSTANCE},", 1) if "{" in series else f"{series}{{{INSTANCE}}}"
