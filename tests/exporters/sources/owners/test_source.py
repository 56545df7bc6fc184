"""The whole join, on a node of the test's own: processes as files, a real kubelet API, real rings."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kubelet import Kubelet
from node_tree import NodeTree
from podresources import allocatable, message, pod, pods

from paceline_exporters.metrics import Samples
from paceline_exporters.sources.board import Gpu, GpuProcess, Port, Seat
from paceline_exporters.sources.contract import World
from paceline_exporters.sources.gpu.child.groups import PERIODS
from paceline_exporters.sources.gpu.source import GpuSource
from paceline_exporters.sources.owners import OwnersSource, create
from paceline_exporters.sources.owners.families import FAMILIES
from paceline_exporters.sources.owners.party import Party
from paceline_exporters.sources.steps import StepsSource

Found = dict[str, float]
GIB = 2**30
U = [f"GPU-0000000{n}-aaaa-bbbb-cccc-0123456789ab" for n in range(4)]
M = [f"MIG-1111111{n}-aaaa-bbbb-cccc-0123456789ab" for n in range(2)]
GPUS = tuple(Gpu(uuid, n, f"0000:{n + 1}b:00.0") for n, uuid in enumerate(U))
PORTS = tuple(Port(f"mlx5_{n}", "1", f"0000:{n + 1}a:00.0", (f"ib{n}",), "InfiniBand") for n in range(2))
POD_UID = "8f1b2c3d-0a1b-4c2d-9e8f-00112233445{}"
IDS = ["a1" * 32, "b2" * 32, "c3" * 32]
RESOURCE = "nvidia.com/gpu"


def in_pod(number: int) -> str:
    return f"/kubepods/burstable/pod{POD_UID.format(number)}/{IDS[number]}"


@pytest.fixture
def world(node: NodeTree) -> World:
    world = World(procfs=node.procfs, sysfs=node.sysfs, rootfs=node.rootfs, rings=node.rootfs / "rings")
    world.board.gpus, world.board.gpu_processes = GPUS, ()
    world.board.ports, world.board.seats = PORTS, ()
    return world


@pytest.fixture
def source(world: World) -> OwnersSource:
    return OwnersSource(world)


def seen(samples: Samples) -> Found:
    """`name{label=value,...}` -> value, of what is known; labels that are empty are left out, as when served."""
    found = {}
    for family, points in samples.points.items():
        for labels, value in points.items():
            text = ",".join(f"{name}={label}" for name, label in zip(family.labels, labels, strict=True) if label)
            if isinstance(value, int | float):
                found[family.name.removeprefix("paceline_") + "{" + text + "}"] = float(value)
    return found


def of(found: Found, name: str) -> list[str]:
    """What stands between the braces of a family's series."""
    return [key.partition("{")[2][:-1] for key in found if key.startswith(name + "{")]


def on(world: World, *processes: tuple[str, int, int | None]) -> None:
    """What the gpu source lists from now on."""
    world.board.gpu_processes = tuple(GpuProcess(*one) for one in processes)


def test_a_machine_without_anything(tmp_path: Path) -> None:
    empty = World(procfs=tmp_path, sysfs=tmp_path, rootfs=tmp_path, rings=tmp_path)
    source = OwnersSource(empty)
    assert not source.sample().points
    source.close()


def test_an_unchanged_node_costs_no_rendering(source: OwnersSource) -> None:
    assert source.sample() is source.sample()


def test_nobody_holds_a_gpu(source: OwnersSource) -> None:
    found = seen(source.sample())
    assert [found[f"gpu_owners{{uuid={uuid}}}"] for uuid in U] == [0] * 4
    assert not of(found, "gpu_owner_info")
    assert found[f"gpu_foreign_processes{{uuid={U[0]}}}"] == 0
    assert found[f"gpu_foreign_memory_bytes{{uuid={U[0]}}}"] == 0


def test_what_cannot_be_known_is_absent(world: World, source: OwnersSource) -> None:
    world.board.gpu_processes = None
    found = seen(source.sample())
    assert not of(found, "gpu_owners")
    assert not of(found, "gpu_foreign_processes")
    on(world)
    world.board.seats = None
    assert not of(seen(source.sample()), "gpu_foreign_processes")


def test_ranks_by_their_processes(node: NodeTree, world: World, source: OwnersSource) -> None:
    node.process(200)
    node.process(201, parent=200, session=200)
    node.process(300)
    world.board.seats = (Seat("run", "0", 200, ""), Seat("run", "1", 300, ""))
    # Each rank holds a little memory on GPU 0, as careless code does.
    on(world, (U[0], 200, 4 * GIB), (U[0], 201, GIB), (U[0], 300, GIB), (U[1], 300, 9 * GIB))
    found = seen(source.sample())
    assert of(found, "gpu_owner_info") == [
        f"uuid={U[0]},uid=1000,run_id=run,rank=0",
        f"uuid={U[1]},uid=1000,run_id=run,rank=1",
    ]
    assert of(found, "rank_gpu_info") == [f"run_id=run,rank=0,uuid={U[0]}", f"run_id=run,rank=1,uuid={U[1]}"]
    assert found["rank_gpus{run_id=run,rank=1}"] == 2
    assert found[f"rank_gpu_memory_bytes{{run_id=run,rank=0,uuid={U[0]}}}"] == 5 * GIB
    assert found[f"rank_gpu_memory_bytes{{run_id=run,rank=1,uuid={U[0]}}}"] == GIB
    assert found[f"gpu_foreign_processes{{uuid={U[0]}}}"] == 0
    assert found[f"gpu_owners{{uuid={U[0]}}}"] == 1  # one user
    assert of(found, "rank_owner_info") == ["run_id=run,rank=0,uid=1000", "run_id=run,rank=1,uid=1000"]


def test_a_gpu_is_its_own_ranks_before_it_is_a_visitors(
    node: NodeTree, world: World, source: OwnersSource
) -> None:
    node.process(200)
    node.process(300)
    world.board.seats = (Seat("run", "0", 200, ""), Seat("run", "1", 300, ""))
    on(world, (U[1], 200, 9 * GIB), (U[0], 200, GIB), (U[0], 300, 9 * GIB))
    assert of(seen(source.sample()), "gpu_owner_info") == [
        f"uuid={U[0]},uid=1000,run_id=run,rank=1",
        f"uuid={U[1]},uid=1000,run_id=run,rank=0",
    ]


def test_a_noisy_neighbour(node: NodeTree, world: World, source: OwnersSource) -> None:
    node.process(200)
    node.process(900, command="nsight", uid=0)
    node.process(901, command="notebook", uid=1003)
    world.board.seats = (Seat("run", "0", 200, ""),)
    on(world, (U[0], 200, 4 * GIB), (U[0], 900, GIB), (U[0], 901, 30 * GIB), (U[1], 901, None))
    found = seen(source.sample())
    assert found[f"gpu_foreign_processes{{uuid={U[0]}}}"] == 2
    assert found[f"gpu_foreign_memory_bytes{{uuid={U[0]}}}"] == 31 * GIB
    assert of(found, "gpu_foreign_info") == [
        f"uuid={U[0]},command=notebook,uid=1003",
        f"uuid={U[1]},command=notebook,uid=1003",
    ]
    assert found[f"gpu_owners{{uuid={U[0]}}}"] == 3
    assert f"uuid={U[0]},uid=1000,run_id=run,rank=0" in of(found, "gpu_owner_info")
    assert found[f"gpu_foreign_processes{{uuid={U[1]}}}"] == 1
    assert f"gpu_foreign_memory_bytes{{uuid={U[1]}}}" not in found  # the driver does not say


def test_nobody_is_accused_while_someone_is_hidden(node: NodeTree, world: World, source: OwnersSource) -> None:
    node.process(900)
    world.board.seats = (Seat("run", "0", None, U[0]),)
    on(world, (U[0], 900, GIB), (U[1], 900, GIB), (U[2], 12345, GIB))
    found = seen(source.sample())
    assert of(found, "gpu_foreign_processes") == [f"uuid={U[1]}", f"uuid={U[3]}"]
    assert f"gpu_owners{{uuid={U[2]}}}" not in found
    world.board.seats = (Seat("run", "0", None, ""),)
    assert not of(seen(source.sample()), "gpu_foreign_processes")


def test_ranks_end_and_their_gpus_are_free_at_once(node: NodeTree, world: World, source: OwnersSource) -> None:
    node.process(200)
    world.board.seats = (Seat("run", "0", 200, U[0]),)
    on(world, (U[0], 200, GIB))
    assert of(seen(source.sample()), "gpu_owner_info")
    node.end(200)
    world.board.seats = ()
    on(world)
    found = seen(source.sample())
    assert found[f"gpu_owners{{uuid={U[0]}}}"] == 0
    for family in ("gpu_owner_info", "rank_owner_info", "rank_gpu_info", "rank_gpu_memory_bytes"):
        assert not of(found, family)


def test_a_used_pid_is_not_the_rank(node: NodeTree, world: World, source: OwnersSource) -> None:
    node.process(200)
    world.board.seats = (Seat("run", "0", 200, ""),)
    on(world, (U[0], 200, GIB))
    assert of(seen(source.sample()), "rank_gpu_info") == [f"run_id=run,rank=0,uuid={U[0]}"]
    node.end(200)
    node.process(200, command="stranger", uid=0)  # before either listing noticed
    found = seen(source.sample())
    assert not of(found, "rank_gpu_info")
    assert not of(found, "gpu_owner_info")
    assert found[f"gpu_foreign_processes{{uuid={U[0]}}}"] == 0


def test_a_gpu_is_free_before_the_driver_says_so(node: NodeTree, world: World, source: OwnersSource) -> None:
    node.process(900)
    on(world, (U[0], 900, GIB), (U[1], 901, GIB))
    assert seen(source.sample())[f"gpu_owners{{uuid={U[0]}}}"] == 1
    node.end(900)
    for _ in range(2):
        found = seen(source.sample())
        assert found[f"gpu_owners{{uuid={U[0]}}}"] == found[f"gpu_foreign_processes{{uuid={U[0]}}}"] == 0
        assert f"gpu_owners{{uuid={U[1]}}}" not in found, "never seen: it may be hidden"
        on(world, (U[0], 900, GIB), (U[1], 901, GIB))  # listed anew, as late as before


def test_who_comes_is_seen_within_10_seconds() -> None:
    listed = PERIODS["processes"] + GpuSource.period_seconds
    assert listed + OwnersSource.period_seconds < 10


@pytest.mark.parametrize(
    ("environ", "uuid"),
    [
        ({"CUDA_VISIBLE_DEVICES": f"{U[2]},{U[3]}", "LOCAL_RANK": "1"}, U[3]),
        ({"CUDA_VISIBLE_DEVICES": "2,3", "LOCAL_RANK": "1"}, U[3]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-00000002"}, U[2]),
        ({"CUDA_VISIBLE_DEVICES": "3", "LOCAL_RANK": "5"}, U[3]),
        ({"CUDA_VISIBLE_DEVICES": "2,3"}, ""),
        ({"CUDA_VISIBLE_DEVICES": "2,3", "LOCAL_RANK": "7"}, ""),
        ({"CUDA_VISIBLE_DEVICES": "", "LOCAL_RANK": "0"}, ""),
        ({"CUDA_VISIBLE_DEVICES": "9"}, ""),
        ({"CUDA_VISIBLE_DEVICES": "1", "SLURM_JOB_ID": "7"}, ""),  # numbered within the job
        ({"CUDA_VISIBLE_DEVICES": U[1], "SLURM_JOB_ID": "7"}, U[1]),
        ({"LOCAL_RANK": "0"}, ""),  # it may compute on the CPU
        (None, ""),
    ],
)
def test_before_cuda_begins_the_environment_tells(
    node: NodeTree, world: World, source: OwnersSource, environ: dict[str, str] | None, uuid: str
) -> None:
    node.process(200, environ=environ)
    world.board.seats = (Seat("run", "0", 200, ""),)
    expected = [f"run_id=run,rank=0,uuid={uuid}"] if uuid else []
    assert of(seen(source.sample()), "rank_gpu_info") == expected


def test_what_the_ring_says_goes_before_the_environment(
    node: NodeTree, world: World, source: OwnersSource
) -> None:
    node.process(200, environ={"CUDA_VISIBLE_DEVICES": U[3]})
    world.board.seats = (Seat("run", "0", 200, U[1].removeprefix("GPU-")),)
    assert of(seen(source.sample()), "rank_gpu_info") == [f"run_id=run,rank=0,uuid={U[1]}"]


def test_the_join_is_one_to_one_when_a_gpu_is_shared(node: NodeTree, world: World, source: OwnersSource) -> None:
    for pid in (200, 300, 400):
        node.process(pid)
    world.board.seats = (Seat("run", "10", 200, ""), Seat("run", "9", 300, ""), Seat("another", "11", 400, ""))
    on(world, *((U[0], pid, GIB) for pid in (200, 300, 400)))
    found = seen(source.sample())
    assert of(found, "gpu_owner_info") == [f"uuid={U[0]},uid=1000,run_id=another,rank=11"]
    world.board.seats = world.board.seats[:2]
    found = seen(source.sample())
    assert of(found, "gpu_owner_info") == [f"uuid={U[0]},uid=1000,run_id=run,rank=9"]
    assert len(of(found, "rank_gpu_info")) == 2
    assert found[f"gpu_foreign_processes{{uuid={U[0]}}}"] == 1


def test_a_divided_gpu_is_owned_by_the_owners_of_its_parts(
    node: NodeTree, world: World, source: OwnersSource
) -> None:
    parts = tuple(Gpu(uuid, 1, GPUS[1].pci, parent=U[1]) for uuid in M)
    world.board.gpus = (*GPUS, *parts)
    node.process(200)
    node.process(300, uid=1003)
    world.board.seats = (Seat("run", "0", 200, M[0].removeprefix("MIG-")),)
    on(world, (M[0], 200, GIB), (M[1], 300, GIB))
    found = seen(source.sample())
    assert of(found, "gpu_owner_info") == [
        f"uuid={U[1]},uid=1000,run_id=run,rank=0",
        f"uuid={M[0]},uid=1000,run_id=run,rank=0",
        f"uuid={M[1]},uid=1003",
    ]
    assert [found[f"gpu_owners{{uuid={uuid}}}"] for uuid in (U[1], *M)] == [2, 1, 1]
    assert of(found, "rank_gpu_info") == [f"run_id=run,rank=0,uuid={M[0]}"]


def test_slurm_by_cgroup_and_by_environment(node: NodeTree, world: World, source: OwnersSource) -> None:
    node.process(200, cgroup="/system.slice/slurmstepd.scope/job_4711/step_0/user/task_0")
    node.process(300, environ={"SLURM_JOB_ID": "4712", "SLURM_STEP_ID": "3"}, uid=1003)
    node.process(400, environ={"SLURM_JOB_ID": 'no"id'}, uid=1004)
    scope = node.sysfs / "fs/cgroup/system.slice/slurmstepd.scope/job_4713"
    (scope / "step_0").mkdir(parents=True)
    (scope / "cgroup.events").write_text("populated 1\n")
    world.board.seats = (Seat("slurm-4711-0", "0", 200, ""),)
    on(world, (U[0], 200, GIB), (U[1], 300, GIB), (U[2], 400, GIB))
    found = seen(source.sample())
    assert of(found, "gpu_owner_info") == [
        f"uuid={U[0]},slurm_job=4711,slurm_step=0,uid=1000,run_id=slurm-4711-0,rank=0",
        f"uuid={U[1]},slurm_job=4712,slurm_step=3,uid=1003",
        f"uuid={U[2]},uid=1004",
    ]
    assert of(found, "rank_owner_info") == ["run_id=slurm-4711-0,rank=0,slurm_job=4711,slurm_step=0,uid=1000"]
    assert of(found, "slurm_job_info") == [
        "slurm_job=4711,uid=1000",
        "slurm_job=4712,uid=1003",
        "slurm_job=4713",
    ]


def test_pods_come_and_go(kubelet: Kubelet, source: OwnersSource) -> None:
    kubelet.start()
    kubelet.answer(
        pods(pod("a", {RESOURCE: [U[0], U[1]]}), pod("b", {RESOURCE: [U[2]], "rdma/hca": ["17", "4"]})),
        allocatable({RESOURCE: U, "rdma/hca": [str(n) for n in range(64)]}),
    )
    found = seen(source.sample())
    assert of(found, "gpu_owner_info") == [
        f"uuid={U[0]},namespace=ml,pod=a,container=train",
        f"uuid={U[1]},namespace=ml,pod=a,container=train",
        f"uuid={U[2]},namespace=ml,pod=b,container=train",
    ]
    assert [found[f"gpu_owners{{uuid={uuid}}}"] for uuid in U] == [1, 1, 1, 0]
    assert found["pod_devices{namespace=ml,pod=a,container=train,resource=nvidia.com/gpu}"] == 2
    assert found["pod_devices{namespace=ml,pod=b,container=train,resource=rdma/hca}"] == 2
    assert found["node_devices{resource=nvidia.com/gpu}"] == 4
    assert not of(found, "nic_owner_info")  # an ordinal is no device
    assert found["nic_owners{device=mlx5_0}"] == 0
    assert found["owners_kubelet_up{}"] == 1
    kubelet.answer(pods(pod("c", {RESOURCE: [U[2]]})))
    found = seen(source.sample())
    assert of(found, "gpu_owner_info") == [f"uuid={U[2]},namespace=ml,pod=c,container=train"]
    assert [found[f"gpu_owners{{uuid={uuid}}}"] for uuid in U] == [0, 0, 1, 0]


def test_a_lost_gpu_still_has_its_pod(world: World, kubelet: Kubelet, source: OwnersSource) -> None:
    kubelet.start()
    kubelet.answer(pods(pod("a", {RESOURCE: [U[0]]})))
    world.board.gpus = world.board.gpu_processes = None
    found = seen(source.sample())
    assert of(found, "gpu_owner_info") == [f"uuid={U[0]},namespace=ml,pod=a,container=train"]
    assert not of(found, "gpu_owners")


def test_rank_gpu_nic_run_and_pod_in_one_scrape(
    node: NodeTree, world: World, kubelet: Kubelet, source: OwnersSource
) -> None:
    kubelet.start()
    kubelet.answer(
        pods(
            pod("a", {RESOURCE: [U[0]], "nvidia.com/sriov": [PORTS[0].pci]}),
            pod("b", {RESOURCE: [U[1], U[2]], "vpc.amazonaws.com/efa": ["mlx5_1"]}),
        )
    )
    node.process(200, cgroup=in_pod(0))
    node.process(300, cgroup=in_pod(1))
    node.log_link("ml", "b", "train", IDS[1])  # of the other only the device tells
    world.board.seats = (Seat("x", "0", 200, ""), Seat("x", "1", 300, ""))
    on(world, (U[0], 200, GIB), (U[1], 300, GIB))
    found = seen(source.sample())
    a, b = (f"namespace=ml,pod={name},container=train" for name in "ab")
    assert of(found, "gpu_owner_info") == [
        f"uuid={U[0]},{a},run_id=x,rank=0",
        f"uuid={U[1]},{b},run_id=x,rank=1",
        f"uuid={U[2]},{b},run_id=x",  # given, and idle
    ]
    assert of(found, "nic_owner_info") == [
        f"device=mlx5_0,{a},run_id=x,rank=0",
        f"device=mlx5_1,{b},run_id=x,rank=1",
    ]
    assert of(found, "rank_owner_info") == [f"run_id=x,rank=0,{a}", f"run_id=x,rank=1,{b}"]
    assert {found[f"gpu_owners{{uuid={uuid}}}"] for uuid in U[:3]} == {1}


def test_time_sliced_replicas(node: NodeTree, world: World, kubelet: Kubelet, source: OwnersSource) -> None:
    kubelet.start()
    kubelet.answer(pods(pod("b", {RESOURCE: [f"{U[0]}::2"]}), pod("a", {RESOURCE: [f"{U[0]}::0", f"{U[0]}::1"]})))
    found = seen(source.sample())
    assert of(found, "gpu_owner_info") == [f"uuid={U[0]},namespace=ml,pod=a,container=train"]
    assert found[f"gpu_owners{{uuid={U[0]}}}"] == 2
    # Two pods and a process of one of them: which, only the name of its container tells.
    node.process(200, cgroup=in_pod(1))
    world.board.seats = (Seat("x", "0", 200, ""),)
    on(world, (U[0], 200, GIB))
    found = seen(source.sample())
    assert of(found, "rank_owner_info") == [f"run_id=x,rank=0,container={IDS[1][:12]}"]
    assert found[f"gpu_owners{{uuid={U[0]}}}"] == 2
    node.log_link("ml", "b", "train", IDS[1])
    found = seen(source.sample())
    assert of(found, "rank_owner_info") == ["run_id=x,rank=0,namespace=ml,pod=b,container=train"]
    assert of(found, "gpu_owner_info") == [f"uuid={U[0]},namespace=ml,pod=b,container=train,run_id=x,rank=0"]
    assert found[f"gpu_owners{{uuid={U[0]}}}"] == 2


def test_devices_of_a_dynamic_claim(node: NodeTree, world: World, kubelet: Kubelet, source: OwnersSource) -> None:
    node.minor(GPUS[0], 3)  # the driver's minor numbers need not be NVML's indexes
    node.minor(GPUS[3], 0)
    devices = (
        ("gpu.nvidia.com", "gpu-0"),
        ("gpu.nvidia.com", "gpu-1-mig-1g12gb-19-4"),
        ("dra.net", "pci-0000-2a-00-0"),
    )
    claimed = [{"driver_name": driver, "pool_name": "n", "device_name": device} for driver, device in devices]
    container = {"name": "train", "dynamic_resources": [{"claim_name": "c", "claim_resources": claimed}]}
    listed = message(
        "ListPodResourcesResponse", pod_resources=[{"name": "a", "namespace": "ml", "containers": [container]}]
    )
    kubelet.start()
    kubelet.answer(listed.SerializeToString())
    found = seen(source.sample())
    who = "namespace=ml,pod=a,container=train"
    assert of(found, "gpu_owner_info") == [f"uuid={U[1]},{who}", f"uuid={U[3]},{who}"]
    assert of(found, "nic_owner_info") == [f"device=mlx5_1,{who}"]
    assert found["pod_devices{namespace=ml,pod=a,container=train,resource=gpu.nvidia.com}"] == 2


def test_a_host_process_on_a_pods_gpu_is_not_the_pods(
    node: NodeTree, world: World, kubelet: Kubelet, source: OwnersSource
) -> None:
    kubelet.start()
    kubelet.answer(pods(pod("a", {RESOURCE: [U[0]]})))
    node.process(900, command="miner", uid=1003)
    on(world, (U[0], 900, 7 * GIB))
    found = seen(source.sample())
    assert found[f"gpu_owners{{uuid={U[0]}}}"] == 2
    assert of(found, "gpu_foreign_info") == [f"uuid={U[0]},command=miner,uid=1003"]


def test_slurm_within_a_pod(node: NodeTree, world: World, kubelet: Kubelet, source: OwnersSource) -> None:
    kubelet.start()
    kubelet.answer(pods(pod("slurmd-0", {RESOURCE: U})))
    node.log_link("ml", "slurmd-0", "train", IDS[0])
    node.process(200, cgroup=f"{in_pod(0)}/system.slice/slurmstepd.scope/job_7/step_0/user/task_0")
    world.board.seats = (Seat("slurm-7-0", "0", 200, ""),)
    on(world, (U[0], 200, GIB))
    found = seen(source.sample())
    assert of(found, "gpu_owner_info")[0] == (
        f"uuid={U[0]},namespace=ml,pod=slurmd-0,container=train,slurm_job=7,slurm_step=0,run_id=slurm-7-0,rank=0"
    )
    assert found[f"gpu_owners{{uuid={U[0]}}}"] == 1
    assert of(found, "slurm_job_info") == ["slurm_job=7"]


def test_hidden_ranks_are_the_pods_that_hold_their_gpus(
    world: World, kubelet: Kubelet, source: OwnersSource
) -> None:
    kubelet.start()
    kubelet.answer(pods(pod("a", {RESOURCE: [U[0]]})))
    world.board.seats = (Seat("x", "0", None, U[0]),)
    found = seen(source.sample())
    assert of(found, "rank_owner_info") == ["run_id=x,rank=0,namespace=ml,pod=a,container=train"]
    assert of(found, "gpu_owner_info") == [f"uuid={U[0]},namespace=ml,pod=a,container=train,run_id=x,rank=0"]


def test_a_sidecar_knows_its_own_pod(node: NodeTree, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACELINE_POD_NAMESPACE", "ml")
    monkeypatch.setenv("PACELINE_POD_NAME", "train-0")
    world.board.seats = (Seat("x", "0", None, ""), Seat("x", "1", None, U[1]), Seat("x", "2", 200, ""))
    node.process(200, cgroup=f"/../cri-containerd-{IDS[0]}.scope")  # a pod with one PID namespace
    found = seen(create(world).sample())
    assert of(found, "rank_owner_info") == [f"run_id=x,rank={n},namespace=ml,pod=train-0" for n in range(3)]
    assert of(found, "gpu_owner_info") == [f"uuid={U[1]},namespace=ml,pod=train-0,run_id=x,rank=1"]


@pytest.mark.parametrize("fault", ["kill", "status", "too_large"])
def test_a_kubelet_that_fails_costs_its_part_only(
    node: NodeTree, world: World, kubelet: Kubelet, source: OwnersSource, fault: str
) -> None:
    node.process(200)
    world.board.seats = (Seat("x", "0", 200, ""),)
    on(world, (U[0], 200, GIB))
    kubelet.start()
    if fault == "kill":
        kubelet.kill()
    elif fault == "status":
        kubelet.answer(fail={"List": "RESOURCE_EXHAUSTED"})
    else:
        kubelet.answer(pods({"name": "p" * 5 * 2**20}))
    found = seen(source.sample())
    assert of(found, "gpu_owner_info") == [f"uuid={U[0]},uid=1000,run_id=x,rank=0"]
    assert not of(found, "gpu_owners")  # a pod may hold any of them
    assert not of(found, "nic_owners")
    assert found["owners_kubelet_up{}"] == 0
    reason = "refused" if fault == "kill" else fault
    assert found[f"owners_errors_total{{from=kubelet,error={reason}}}"] == 1
    assert found["owners_errors_total{from=kubelet,error=deadline}"] == 0
    assert source.sample().problem is None


def test_real_rings_of_real_processes(
    rings: Path, trainer: Callable[..., Any], kubelet: Kubelet, root: Path
) -> None:
    first, second = trainer(rank=0, run_id="r"), trainer(rank=1, run_id="r", gpu_uuid=U[2].removeprefix("GPU-"))
    world = World(rootfs=root, rings=rings)
    world.board.gpus = GPUS
    steps, owners = StepsSource(world), OwnersSource(world)
    steps.sample()
    seats = world.board.seats
    assert seats is not None
    pids = {seat.rank: seat.pid for seat in seats}
    assert None not in pids.values()
    on(world, *((U[0], pid, GIB) for pid in (pids["0"], os.getpid()) if pid))
    found = seen(owners.sample())
    assert of(found, "rank_gpu_info") == [f"run_id=r,rank=0,uuid={U[0]}", f"run_id=r,rank=1,uuid={U[2]}"]
    assert f"uuid={U[0]},uid={os.getuid()},run_id=r,rank=0" in of(found, "gpu_owner_info")
    assert found[f"gpu_foreign_processes{{uuid={U[0]}}}"] == 1  # this one
    first.kill()
    steps.sample()
    on(world)
    found = seen(owners.sample())
    assert of(found, "rank_gpu_info") == [f"run_id=r,rank=1,uuid={U[2]}"]
    assert found[f"gpu_owners{{uuid={U[0]}}}"] == 0
    second.kill()
    steps.close()


def test_there_is_one_series_per_device_and_per_rank(
    node: NodeTree, world: World, kubelet: Kubelet, source: OwnersSource
) -> None:
    """The promise that joins rest on, on the busiest of nodes: everything shares everything."""
    kubelet.start()
    kubelet.answer(
        pods(*(pod(f"p{n}", {RESOURCE: [f"{uuid}::{n}" for uuid in U], "x": ["mlx5_0"]}) for n in range(6)))
    )
    for pid in range(100, 130):
        node.process(pid, cgroup=in_pod(pid % 3), uid=pid)
    world.board.seats = tuple(Seat(f"run{n % 2}", str(n), 100 + n, "") for n in range(20))
    on(world, *((uuid, pid, GIB) for uuid in U for pid in range(100, 130)))
    for sample in (source.sample(), source.sample()):
        for name, keys in (
            ("gpu_owner", 1),
            ("nic_owner", 1),
            ("rank_owner", 2),
            ("rank_gpu", 2),
            ("gpu_foreign", 1),
        ):
            family = next(one for one in FAMILIES if one.name == f"paceline_{name}_info")
            points = list(sample.points[family])
            assert points, name
            assert len({labels[:keys] for labels in points}) == len(points), name


def test_jobs_are_bounded(node: NodeTree, source: OwnersSource) -> None:
    for job in range(300):
        (node.sysfs / f"fs/cgroup/memory/slurm/uid_1/job_{job}/step_0").mkdir(parents=True)
    assert len(of(seen(source.sample()), "slurm_job_info")) == 256


def test_parties_are_in_an_order() -> None:
    pod_a = Party("ml", "a", "train")
    assert min(Party(uid="0"), Party(slurm_job="1")) == Party(uid="0")
    assert sorted([replace(pod_a, pod="b"), pod_a])[0] == pod_a
