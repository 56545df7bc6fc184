from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from paceline_agent.doctor.finding import Finding
from paceline_agent.doctor.owners import examine
from paceline_agent.doctor.place import Place
from paceline_agent.doctor.sampling import Sampled
from paceline_agent.doctor.visit import Visit
from paceline_exporters.metrics import Labels, Value
from paceline_exporters.sources.owners.families import ERRORS, KUBELET_UP, NODE_DEVICES, POD_DEVICES, SLURM_JOB

Points = dict[Labels, Value]


def found(visit: Visit, sampled: Sampled) -> dict[str, Finding]:
    return {one.subject: one for one in examine(replace(visit, sampled={"owners": sampled}))}


def test_a_kubernetes_node(visit: Callable[..., Visit]) -> None:
    given: Points = {
        ("ml", f"train-{n}", "trainer", resource): 1.0 for n in range(3) for resource in ("gpu", "rdma")
    }
    there: Points = {("gpu",): 8.0, ("rdma",): 8.0}
    sampled = Sampled(points={KUBELET_UP: {(): 1}, POD_DEVICES: given, NODE_DEVICES: there})
    kubelet = found(visit(), sampled)["kubelet"]
    assert (kubelet.status, kubelet.seen) == ("ok", "it answers: 3 pods with devices, of 16 there")


def test_a_kubelet_that_is_closed(visit: Callable[..., Visit]) -> None:
    errors: Points = {("kubelet", "missing"): 0, ("kubelet", "permission"): 2}
    kubelet = found(visit(), Sampled(points={KUBELET_UP: {(): 0}, ERRORS: errors}))["kubelet"]
    assert (kubelet.status, kubelet.why) == ("limited", "permission")
    assert "run the agent as root" in kubelet.fix


def test_names_of_containers_that_are_closed(visit: Callable[..., Visit]) -> None:
    one = visit()
    containers = found(one, Sampled(points={ERRORS: {("containers", "permission"): 1}}))["containers"]
    assert (containers.status, containers.fix) == ("limited", f"chmod a+rx {one.world.rootfs}/var/log/containers")


def test_slurm(visit: Callable[..., Visit], host: Place) -> None:
    jobs = Sampled(points={SLURM_JOB: {("17", "1000"): 1}})
    assert found(visit(), jobs)["Slurm"].seen == "1 job on this node"
    assert found(visit(), Sampled())["Slurm"].status == "absent"
    within = found(visit(replace(host, kind="Slurm job")), Sampled())["Slurm"]
    assert (within.status, within.fix) == ("limited", "slurm.conf: ProctrackType=proctrack/cgroup")
