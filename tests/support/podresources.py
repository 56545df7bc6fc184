"""The messages of the kubelet's pod-resources API, version 1, as the protobuf package's classes, from a table."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "v1"
# Message -> field, number, type; `*` for repeated. Facts of k8s.io/kubelet, pkg/apis/podresources/v1.
MESSAGES = {
    "AllocatableResourcesRequest": "",
    "AllocatableResourcesResponse": "devices 1 *ContainerDevices, cpu_ids 2 *int64, memory 3 *ContainerMemory",
    "ListPodResourcesRequest": "",
    "ListPodResourcesResponse": "pod_resources 1 *PodResources",
    "PodResources": (
        "name 1 string, namespace 2 string, containers 3 *ContainerResources, cpu_ids 4 *int64, "
        "memory 5 *ContainerMemory"
    ),
    "ContainerResources": (
        "name 1 string, devices 2 *ContainerDevices, cpu_ids 3 *int64, memory 4 *ContainerMemory, "
        "dynamic_resources 5 *DynamicResource"
    ),
    "ContainerMemory": "memory_type 1 string, size 2 uint64, topology 3 TopologyInfo",
    "ContainerDevices": "resource_name 1 string, device_ids 2 *string, topology 3 TopologyInfo",
    "TopologyInfo": "nodes 1 *NUMANode",
    "NUMANode": "ID 1 int64",
    "DynamicResource": "claim_name 2 string, claim_namespace 3 string, claim_resources 4 *ClaimResource",
    "ClaimResource": (
        "cdi_devices 1 *CDIDevice, driver_name 2 string, pool_name 3 string, device_name 4 string, "
        "share_id 5 string"
    ),
    "CDIDevice": "name 1 string",
}
_F = descriptor_pb2.FieldDescriptorProto
_SCALARS = {"string": _F.TYPE_STRING, "int64": _F.TYPE_INT64, "uint64": _F.TYPE_UINT64}


def message(name: str, **values: Any) -> Any:
    """A message, with values as plain dictionaries and lists."""
    return _CLASSES[f"{PACKAGE}.{name}"](**values)


def pods(*listed: dict[str, Any]) -> bytes:
    """An answer to List."""
    return bytes(message("ListPodResourcesResponse", pod_resources=listed).SerializeToString())


def pod(
    name: str, devices: dict[str, list[str]], namespace: str = "ml", container: str = "train"
) -> dict[str, Any]:
    """A pod of one container with devices of plugins."""
    held = [{"resource_name": resource, "device_ids": ids} for resource, ids in devices.items()]
    return {"name": name, "namespace": namespace, "containers": [{"name": container, "devices": held}]}


def allocatable(devices: dict[str, list[str]]) -> bytes:
    """An answer to GetAllocatableResources."""
    listed = [{"resource_name": resource, "device_ids": ids} for resource, ids in devices.items()]
    return bytes(message("AllocatableResourcesResponse", devices=listed).SerializeToString())


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="podresources.proto", package=PACKAGE, syntax="proto3")
    for name, fields in MESSAGES.items():
        described = file.message_type.add(name=name)
        for field in filter(None, fields.split(", ")):
            label, number, kind = field.split()
            repeated = _F.LABEL_REPEATED if kind.startswith("*") else _F.LABEL_OPTIONAL
            kind = kind.removeprefix("*")
            scalar = _SCALARS.get(kind)
            described.field.add(
                name=label,
                number=int(number),
                label=repeated,
                type=scalar or _F.TYPE_MESSAGE,
                type_name=None if scalar else f".{PACKAGE}.{kind}",
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return dict(message_factory.GetMessageClassesForFiles(["podresources.proto"], pool))


_CLASSES = _classes()
