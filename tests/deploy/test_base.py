"""deploy/kubernetes/base: what Kustomize makes of it is legal, hangs together, and agrees with the code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paceline_agent.web import PAGES
from paceline_exporters.sources import discover
from paceline_exporters.sources.contract import World
from paceline_exporters.sources.mounts.table import SHARED_MEMORY
from paceline_exporters.sources.owners.containers import DIRECTORY
from paceline_exporters.sources.owners.kubelet import SOCKET
from paceline_tuner.service.routes import ROUTES

Object = dict[str, Any]
Build = Callable[[str], list[Object]]
UID = 65532
"""Of the images' user; of the DaemonSet's agent the group."""
USERS = {"paceline-agent": 0, "paceline-tuner": UID}
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
    found = {
        pod["metadata"]["labels"]["app.kubernetes.io/name"]: pod for one in built.values() for pod in pods(one)
    }
    assert found.keys() == USERS.keys()
    for name, pod in found.items():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["runAsGroup"]) == (USERS[name], UID)
        for container in containers(pod):
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]} and "runAsUser" not in security
            assert set(container["resources"]) == {"requests", "limits"}


def test_the_node_agent_sees_the_host_and_may_change_its_own_directories_only(
    built: dict[tuple[str, str], Object], parse: Callable[[list[str]], Any]
) -> None:
    pod, container = component(built, "agent")
    assert pod["spec"]["hostNetwork"] is pod["spec"]["hostPID"] is True
    arguments = parse(container["args"])
    host = {volume["name"]: volume["hostPath"]["path"] for volume in pod["spec"]["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    seen = {path: host[mount["name"]] for path, mount in mounts.items() if mount.get("readOnly")}
    # What sources look for below --path.rootfs is where the host has it.
    below = [str(Path(SOCKET).parent), DIRECTORY, SHARED_MEMORY]
    assert seen == {str(arguments.sysfs): "/sys", **{f"{arguments.rootfs}/{path}": f"/{path}" for path in below}}
    written = {mounts[path]["mountPath"] for path in mounts.keys() - seen.keys()}
    assert (
        written
        == {str(arguments.rings), str(arguments.state.parent)}
        == {
            str(arguments.rings),
            str(arguments.spool.parent),
        }
    )


def test_what_the_components_add_is_what_they_say(build: Build, valid: Callable[[Object], None]) -> None:
    (plain, full) = (_daemon_set(build(name)) for name in ("paceline", "paceline-nvidia"))
    valid(full)
    before, after = (one["spec"]["template"]["spec"] for one in (plain, full))
    assert "runtimeClassName" not in before and after["runtimeClassName"] == "nvidia"
    (agent,) = after["containers"]
    assert agent["securityContext"] == {"privileged": True, "readOnlyRootFilesystem": True}
    added = {one["name"]: one for one in agent["volumeMounts"]}.keys() - {
        one["name"] for one in before["containers"][0]["volumeMounts"]
    }
    host = {volume["name"]: volume["hostPath"]["path"] for volume in after["volumes"]}
    assert {host[name] for name in added} == {"/", "/dev/kmsg"}
    assert all(one["readOnly"] for one in agent["volumeMounts"] if one["name"] in added)
    assert {one["mountPath"] for one in agent["volumeMounts"]} >= {"/host/root", "/host/root/dev/kmsg"}


def _daemon_set(found: list[Object]) -> Object:
    (one,) = [one for one in found if one["kind"] == "DaemonSet"]
    return one


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
    written = (("agent", "rings"), ("agent", "state"), ("agent", "spool"), ("tuner", "database"))
    for name, field in written:
        pod, container = component(built, name)
        path = getattr(parse(container["args"]), field)
        mounted = {Path(mount["mountPath"]) for mount in container["volumeMounts"]}
        assert mounted & {path, *path.parents}, f"{path} is not in a volume"
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def test_the_agents_node_comes_from_the_downward_api(built: dict[tuple[str, str], Object]) -> None:
    _, container = component(built, "agent")
    found = {one["name"]: one for one in container["env"]}
    fields = {
        name: one["valueFrom"]["fieldRef"]["fieldPath"] for name, one in found.items() if "valueFrom" in one
    }
    assert fields == {"NODE_NAME": "spec.nodeName", "HOST_IP": "status.hostIP"}
    assert found["NVIDIA_VISIBLE_DEVICES"]["value"] == "all", "NVIDIA's runtime gives no GPU to a pod without it"
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


def test_target_labels_displace_none_of_ours(built: dict[tuple[str, str], Object]) -> None:
    """The operator sets namespace, pod and container of the target first, then does what the monitor says."""
    (endpoint,) = built["PodMonitor", "paceline-agent"]["spec"]["podMetricsEndpoints"]
    (dropped,) = [one["regex"] for one in endpoint["relabelings"] if one.get("action") == "labeldrop"]
    kept = {"job", "instance", "endpoint"} | ({"namespace", "pod", "container"} - set(dropped.split("|")))
    labels = {label for source in discover(World()) for family in source.families for label in family.labels}
    assert not kept & labels
    assert "honorLabels" not in endpoint
    (node,) = [one for one in endpoint["relabelings"] if one.get("targetLabel") == "node"]
    assert node["sourceLabels"] == ["__meta_kubernetes_pod_node_name"]


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
    assert {name for found in maps for name in found["data"]} == {
        f"paceline-{name}.json" for name in ("job", "node", "tuner")
    }
    assert all(found["metadata"]["labels"]["grafana_dashboard"] == "1" for found in maps)
    # kubectl apply keeps a copy in an annotation, which holds at most 256 KiB
    assert all(sum(map(len, found["data"].values())) < 200_000 for found in maps)
