"""deploy/kubernetes/base: what Kustomize makes of it is legal, hangs together, and agrees with the code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paceline_agent.web import PAGES
from paceline_tuner.service.routes import ROUTES

Object = dict[str, Any]
Build = Callable[[str], list[Object]]
UID = 65532
CUSTOM = {"PodMonitor": "podmonitors", "PrometheusRule": "prometheusrules"}


@pytest.fixture(scope="module")
def built(build: Build) -> dict[tuple[str, str], Object]:
    """(kind, name) -> object, as in a cluster."""
    return {(found["kind"], found["metadata"]["name"]): found for found in build("paceline")}


def containers(pod: Object) -> list[Object]:
    """All of a pod, init containers first."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def component(found: dict[tuple[str, str], Object], name: str) -> tuple[Object, Object]:
    """The pod of the agent or tuner, and its main container."""
    owner = found["DaemonSet" if name == "agent" else "Deployment", f"paceline-{name}"]
    pod = owner["spec"]["template"]
    assert owner["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    return pod, pod["spec"]["containers"][0]


def test_base_names_no_namespace(build: Build) -> None:
    assert not [found for found in build("base") if "namespace" in found["metadata"]]


def test_kubernetes_knows_every_field(
    built: dict[tuple[str, str], Object], valid: Callable[[Object], None]
) -> None:
    for (kind, _), found in built.items():
        if kind not in CUSTOM:
            valid(found)


def test_the_operator_knows_every_field(
    built: dict[tuple[str, str], Object], valid_custom: Callable[[Object, str], None]
) -> None:
    checked = [valid_custom(found, CUSTOM[kind]) for (kind, _), found in built.items() if kind in CUSTOM]
    assert len(checked) == 3


def test_every_container_is_confined(
    built: dict[tuple[str, str], Object], pods: Callable[[Any], list[Object]]
) -> None:
    found = [pod for one in built.values() for pod in pods(one.get("spec"))]
    assert len(found) == 2
    for pod in found:
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["runAsGroup"]) == (UID, UID)
        for container in containers(pod):
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"]["drop"] == ["ALL"]
            assert set(container["resources"]) == {"requests", "limits"}


def test_only_the_container_that_makes_the_ring_directory_is_root(
    built: dict[tuple[str, str], Object], pods: Callable[[Any], list[Object]]
) -> None:
    rooted = {
        container["name"]: container["securityContext"]["capabilities"].get("add")
        for one in built.values()
        for pod in pods(one.get("spec"))
        for container in containers(pod)
        if container["securityContext"].get("runAsUser", UID) == 0
        or "add" in container["securityContext"]["capabilities"]
    }
    assert rooted == {"ring-directory": ["CHOWN", "FOWNER", "FSETID"]}


@pytest.mark.parametrize("name", ["agent", "tuner"])
def test_flags_ports_and_probes_are_the_codes(
    built: dict[tuple[str, str], Object],
    name: str,
    parse: Callable[[list[str]], Any],
    ports: dict[str, int],
) -> None:
    _, container = component(built, name)
    arguments = parse(container["args"])
    address = arguments.listen if name == "agent" else arguments.address
    assert int(address.rpartition(":")[2]) == ports[name]
    assert [(port["name"], port["containerPort"]) for port in container["ports"]] == [("paceline", ports[name])]
    served = PAGES if name == "agent" else [route.path for route in ROUTES]
    for probe in ("livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == "paceline"
        assert container[probe]["httpGet"]["path"] in served


def test_what_is_written_lies_in_a_volume(
    built: dict[tuple[str, str], Object], parse: Callable[[list[str]], Any]
) -> None:
    for name, field in (("agent", "rings"), ("tuner", "database")):
        pod, container = component(built, name)
        path = getattr(parse(container["args"]), field)
        mounted = {Path(mount["mountPath"]) for mount in container["volumeMounts"]}
        assert mounted & {path, *path.parents}, f"{path} is not in a volume"
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def test_the_agents_node_comes_from_the_downward_api(built: dict[tuple[str, str], Object]) -> None:
    _, container = component(built, "agent")
    fields = {one["name"]: one["valueFrom"]["fieldRef"]["fieldPath"] for one in container["env"]}
    assert fields == {"NODE_NAME": "spec.nodeName", "HOST_IP": "status.hostIP"}
    assert "--node=$(NODE_NAME)" in container["args"]


def test_one_process_owns_the_database(built: dict[tuple[str, str], Object]) -> None:
    spec = built["Deployment", "paceline-tuner"]["spec"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (1, "Recreate")
    volumes = {volume["name"]: volume for volume in spec["template"]["spec"]["volumes"]}
    assert ("PersistentVolumeClaim", volumes["data"]["persistentVolumeClaim"]["claimName"]) in built


def test_service_and_policy_meet_the_tuner(built: dict[tuple[str, str], Object], ports: dict[str, int]) -> None:
    pod, container = component(built, "tuner")
    labels = pod["metadata"]["labels"]
    service = built["Service", "paceline-tuner"]["spec"]
    assert service["selector"].items() <= labels.items()
    assert [(port["port"], port["targetPort"]) for port in service["ports"]] == [
        (ports["tuner"], container["ports"][0]["name"])
    ]
    policy = built["NetworkPolicy", "paceline-tuner"]["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    (rule,) = policy["ingress"]
    assert [port["port"] for port in rule["ports"]] == [ports["tuner"]]
    assert all(peer["podSelector"]["matchLabels"] for peer in rule["from"]), "a peer without labels is everyone"


@pytest.mark.parametrize("name", ["agent", "tuner"])
def test_the_monitor_finds_the_pod(built: dict[tuple[str, str], Object], name: str) -> None:
    pod, container = component(built, name)
    monitor = built["PodMonitor", f"paceline-{name}"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert endpoint["port"] in [port["name"] for port in container["ports"]]
    assert endpoint["path"] == "/metrics"
    assert {"targetLabel": "job", "replacement": f"paceline-{name}"} in endpoint["relabelings"]


def test_the_submitter_may_launch_and_look_and_no_more(built: dict[tuple[str, str], Object]) -> None:
    rules = built["Role", "paceline-submitter"]["rules"]
    kinds = {
        (group, one): rule["verbs"] for rule in rules for group in rule["apiGroups"] for one in rule["resources"]
    }
    looks = {("", "pods"): ["get", "list", "watch"], ("", "pods/log"): ["get"]}
    launched = {
        ("batch", "jobs"),
        ("kubeflow.org", "pytorchjobs"),
        ("trainer.kubeflow.org", "trainjobs"),
        ("jobset.x-k8s.io", "jobsets"),
        ("batch.volcano.sh", "jobs"),
        ("ray.io", "rayjobs"),
    }
    assert kinds == {**{kind: ["create", "get", "list", "watch", "delete"] for kind in launched}, **looks}
    binding = built["RoleBinding", "paceline-submitter"]
    assert binding["roleRef"]["name"] == "paceline-submitter"
    (subject,) = binding["subjects"]
    assert (subject["kind"], subject["name"], subject["namespace"]) == (
        "ServiceAccount",
        "paceline-submitter",
        "paceline",
    )
    assert ("ServiceAccount", "paceline-submitter") in built


def test_dashboards_are_found_by_grafanas_sidecar(built: dict[tuple[str, str], Object]) -> None:
    maps = [found for (kind, _), found in built.items() if kind == "ConfigMap"]
    assert {name for found in maps for name in found["data"]} == {"paceline-job.json", "paceline-tuner.json"}
    assert all(found["metadata"]["labels"]["grafana_dashboard"] == "1" for found in maps)
    # kubectl apply keeps a copy in an annotation, which holds at most 256 KiB
    assert all(sum(map(len, found["data"].values())) < 200_000 for found in maps)
