"""deploy/kubernetes/examples: every kind of job is legal, and each carries the same sidecar."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paceline_agent.web import PAGES

Object = dict[str, Any]
SCHEMAS = {
    "PyTorchJob": "pytorchjob",
    "JobSet": "jobset",
    "TrainJob": "trainjob",
    "RayJob": "rayjob",
    ("batch.volcano.sh/v1alpha1", "Job"): "vcjob",
}
# Example -> where the controller's pods carry the job's name, number of pod templates with ranks
SIDECARS = {
    "job": ("batch.kubernetes.io/job-name", 1),
    "pytorchjob": ("training.kubeflow.org/job-name", 2),
    "volcanojob": ("volcano.sh/job-name", 2),
    "jobset": ("jobset.sigs.k8s.io/jobset-name", 1),
    "trainjob": ("jobset.sigs.k8s.io/jobset-name", 1),
    "rayjob": ("ray.io/cluster", 1),
}
Load = Callable[[Path], list[Object]]
Pods = Callable[[Any], list[Object]]


@pytest.fixture(scope="module")
def examples(deploy: Path, load: Load) -> dict[str, list[Object]]:
    """Example -> its objects."""
    return {path.stem: load(path) for path in (deploy / "kubernetes" / "examples").glob("*.yaml")}


def trainers(found: list[Object], pods: Pods) -> list[Object]:
    """The pods that ranks run in."""
    return [pod for pod in pods(found) if "initContainers" in pod["spec"]]


def named(containers: list[Object], name: str) -> Object:
    """The container of that name."""
    (found,) = [one for one in containers if one["name"] == name]
    return found


def test_every_kind_has_an_example(examples: dict[str, list[Object]]) -> None:
    assert set(examples) == {*SIDECARS, "job-with-node-agent"}


def test_upstream_knows_every_field(
    examples: dict[str, list[Object]], valid_custom: Callable[[Object, str], None]
) -> None:
    checked = set()
    for found in (one for objects in examples.values() for one in objects):
        name = SCHEMAS.get(found["kind"]) or SCHEMAS.get((found["apiVersion"], found["kind"]))
        if name:
            valid_custom(found, name)
            checked.add(name)
    assert checked == set(SCHEMAS.values())


def test_the_runtime_of_train_jobs_is_a_job_set(
    examples: dict[str, list[Object]], valid_custom: Callable[[Object, str], None]
) -> None:
    runtime = next(one for one in examples["trainjob"] if one["kind"] == "ClusterTrainingRuntime")
    valid_custom(
        {
            "apiVersion": "jobset.x-k8s.io/v1alpha2",
            "kind": "JobSet",
            "metadata": {},
            **runtime["spec"]["template"],
        },
        "jobset",
    )


def test_kubernetes_knows_every_field_of_pods(
    examples: dict[str, list[Object]], pods: Pods, valid: Callable[[Object], None]
) -> None:
    for found in (one for objects in examples.values() for one in objects):
        if found["apiVersion"] == "batch/v1":
            valid(found)
        for pod in pods(found):
            valid(pod)


@pytest.mark.parametrize("name", SIDECARS)
def test_ranks_write_where_the_sidecar_reads(
    examples: dict[str, list[Object]],
    name: str,
    pods: Pods,
    parse: Callable[[list[str]], Any],
    ports: dict[str, int],
) -> None:
    label, count = SIDECARS[name]
    found = trainers(examples[name], pods)
    assert len(found) == count
    for pod in found:
        assert pod["metadata"]["labels"]["paceline/metrics"] == "agent", "the PodMonitor would not find it"
        brings, agent = pod["spec"]["initContainers"]
        (trainer,) = pod["spec"]["containers"]
        assert agent["restartPolicy"] == "Always"
        assert "startupProbe" not in agent and "readinessProbe" not in agent, "training would wait for it"
        arguments = parse(agent["args"])
        assert int(arguments.listen.rpartition(":")[2]) == ports["agent"]
        assert agent["ports"] == [{"name": "paceline", "containerPort": ports["agent"]}]
        assert agent["livenessProbe"]["httpGet"] == {"path": PAGES[1], "port": "paceline"}
        variables = {one["name"]: one for one in trainer["env"]}
        rings = variables["PACELINE_RING_DIR"]["value"]
        assert rings == str(arguments.rings)
        assert f"install -d -m 3777 {rings}" in brings["command"][-1]
        run_id = variables["PACELINE_RUN_ID"]["valueFrom"]["fieldRef"]["fieldPath"]
        assert run_id == f"metadata.labels['{label}']"
        volume = {volume["name"]: volume for volume in pod["spec"]["volumes"]}["paceline-rings"]
        assert volume["emptyDir"]["medium"] == "Memory"
        for container in (brings, agent, trainer):
            mount = named(container["volumeMounts"], "paceline-rings")
            assert mount["mountPath"] == str(Path(rings).parent)


def test_the_hooks_come_by_a_volume(examples: dict[str, list[Object]], pods: Pods) -> None:
    for found in examples.values():
        for pod in trainers(found, pods):
            brings, (trainer,) = pod["spec"]["initContainers"][0], pod["spec"]["containers"]
            source, target = re.search(r"cp -r (\S+)/\. (\S+)", " ".join(brings["command"])).groups()  # type: ignore[union-attr]
            assert source == "/opt/paceline/attach"
            assert named(brings["volumeMounts"], "paceline-attach")["mountPath"] == target
            mount = named(trainer["volumeMounts"], "paceline-attach")["mountPath"]
            assert named(trainer["env"], "PYTHONPATH")["value"] == f"{mount}/path"


def test_all_sidecars_are_the_same(examples: dict[str, list[Object]], pods: Pods) -> None:
    all_pods = [pod for name in SIDECARS for pod in trainers(examples[name], pods)]
    first = all_pods[0]["spec"]
    for pod in all_pods:
        assert pod["spec"]["initContainers"] == first["initContainers"]
        assert pod["spec"]["volumes"] == first["volumes"]


def test_sidecars_know_their_pod(examples: dict[str, list[Object]], pods: Pods) -> None:
    for name in SIDECARS:
        for pod in trainers(examples[name], pods):
            agent = named(pod["spec"]["initContainers"], "paceline-agent")
            fields = {one["name"]: one["valueFrom"]["fieldRef"]["fieldPath"] for one in agent["env"]}
            assert (
                fields.items()
                >= {
                    "PACELINE_POD_NAME": "metadata.name",
                    "PACELINE_POD_NAMESPACE": "metadata.namespace",
                }.items()
            ), name


def test_images_are_of_this_version(examples: dict[str, list[Object]], pods: Pods, project: Object) -> None:
    for found in examples.values():
        for pod in trainers(found, pods):
            assert {one["image"] for one in pod["spec"]["initContainers"]} == {
                f"paceline-agent:{project['version']}"
            }


def test_the_sidecar_is_confined_and_leaves_a_guaranteed_pod_guaranteed(
    examples: dict[str, list[Object]], pods: Pods
) -> None:
    for found in examples.values():
        for pod in trainers(found, pods):
            assert "securityContext" not in pod["spec"], "fsGroup would change the owner of the user's volumes"
            for container in pod["spec"]["initContainers"]:
                security = container["securityContext"]
                assert security["readOnlyRootFilesystem"] is True
                assert (security["runAsUser"], security["runAsGroup"]) == (65532, 65532)
                assert security["capabilities"] == {"drop": ["ALL"]}
            for container in [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]:
                assert container["resources"]["requests"] == container["resources"]["limits"]


def test_the_node_agents_example_writes_where_the_daemon_set_reads(
    examples: dict[str, list[Object]], pods: Pods, load: Load, deploy: Path
) -> None:
    (pod,) = trainers(examples["job-with-node-agent"], pods)
    (daemon_set,) = load(deploy / "kubernetes" / "base" / "agent" / "daemonset.yaml")
    watched = named(daemon_set["spec"]["template"]["spec"]["volumes"], "rings")
    volume = named(pod["spec"]["volumes"], "paceline-rings")
    assert volume["hostPath"]["path"] == watched["hostPath"]["path"]
    (trainer,) = pod["spec"]["containers"]
    mount = named(trainer["volumeMounts"], "paceline-rings")["mountPath"]
    assert named(trainer["env"], "PACELINE_RING_DIR")["value"] == mount


def test_volcano_and_pytorch_jobs_take_pods_as_nodes(examples: dict[str, list[Object]], pods: Pods) -> None:
    for name in ("volcanojob", "pytorchjob"):
        for pod in trainers(examples[name], pods):
            command = pod["spec"]["containers"][0]["command"][-1]
            assert "--node-rank=$RANK" in command
    assert "--nnodes=$WORLD_SIZE" in command or name == "pytorchjob"
    (job,) = examples["pytorchjob"]
    assert all(
        replica["template"]["spec"]["containers"][0]["name"] == "pytorch"
        for replica in job["spec"]["pytorchReplicaSpecs"].values()
    )


def test_train_job_keeps_the_rules_that_its_schema_cannot_say(examples: dict[str, list[Object]]) -> None:
    runtime, job = examples["trainjob"]
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", job["metadata"]["name"])
    assert len(job["metadata"]["name"]) <= 63
    assert not [one for one in job["spec"]["trainer"].get("env", []) if one["name"].startswith("PET_")]
    assert job["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"]
    (replicated,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    assert (
        replicated["template"]["metadata"]["labels"]["trainer.kubeflow.org/trainjob-ancestor-step"] == "trainer"
    )
    assert replicated["template"]["spec"]["template"]["spec"]["containers"][0]["name"] == "node"


def test_the_checks_themselves_are_strict(
    examples: dict[str, list[Object]],
    pods: Pods,
    valid: Callable[[Object], None],
    valid_custom: Callable[[Object, str], None],
) -> None:
    (job,) = examples["pytorchjob"]
    wrong = copy.deepcopy(job)
    pods(wrong)[0]["spec"]["initContainers"][1]["restartPolicies"] = "Always"
    for check in (lambda: valid(pods(wrong)[0]), lambda: valid_custom(wrong, "pytorchjob")):
        with pytest.raises(Exception, match="restartPolicies"):
            check()
