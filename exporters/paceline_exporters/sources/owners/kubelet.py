"""Which devices the kubelet gave to which container: the pod-resources API, version 1.

github.com/kubernetes/kubelet, pkg/apis/podresources/v1. The kubelet drops the devices of pods that ended before
it answers List, and it names a container's devices once per resource and NUMA node.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .errors import REASONS, AskError, Errors
from .wire import Message, Schema, WireError, decode, text

ASKED = "kubelet"
ASKED_ALLOCATABLE = "kubelet_allocatable"
SOCKET = "var/lib/kubelet/pod-resources/kubelet.sock"
CALL_SECONDS = 1.5
KEEP_SECONDS = 7.5
"""An answer stands in for one that failed while it is younger: with the period on top, it is served for 10 s at
most."""

_SERVICE = "/v1.PodResourcesLister/"
_DEVICES: Schema = {1: ("resource_name", None), 2: ("device_ids", None)}
_CLAIMED: Schema = {1: ("cdi_devices", {1: ("name", None)}), 2: ("driver_name", None), 4: ("device_name", None)}
_CONTAINER: Schema = {
    1: ("name", None),
    2: ("devices", _DEVICES),
    5: ("dynamic_resources", {4: ("claim_resources", _CLAIMED)}),
}
_POD: Schema = {1: ("name", None), 2: ("namespace", None), 3: ("containers", _CONTAINER)}
LIST: Schema = {1: ("pod_resources", _POD)}
ALLOCATABLE: Schema = {1: ("devices", _DEVICES)}


@dataclass(frozen=True)
class Given:
    """A device that a container was given."""

    namespace: str
    pod: str
    container: str
    resource: str
    """Name of the extended resource; of a device allocated dynamically, its driver's."""
    names: tuple[str, ...]
    """What the device is called: the plugin's id; or the driver's name for it, then its CDI names."""


@dataclass(frozen=True)
class Answer:
    """What the kubelet said."""

    given: tuple[Given, ...]
    allocatable: dict[str, int] = field(default_factory=dict)
    """Resource -> devices; empty where the kubelet does not tell."""


class Kubelet:
    """Asks the kubelet below a root directory. Where its directory is missing, this is no Kubernetes node."""

    def __init__(self, rootfs: Path, errors: Errors, clock: Callable[[], float] = time.monotonic) -> None:
        self.present = False
        """This is a Kubernetes node."""
        self.up = False
        """The latest question was answered."""
        self._socket = rootfs / SOCKET
        self._errors = errors
        self._clock = clock
        self._last: tuple[float, Answer] | None = None
        self._decoded: dict[str, tuple[bytes, Message]] = {}
        """Of each method the last answer: most are the same as before."""

    def ask(self) -> Answer | None:
        """The answer, for a short while the one before; None where there is neither."""
        self.present = _is_there(self._socket.parent)
        if not self.present:
            self._last = None
            return None
        for asked in (ASKED, ASKED_ALLOCATABLE):
            self._errors.expect(asked, REASONS)
        now = self._clock()
        try:
            self._last = now, self._answer()
            self.up = True
            self._errors.answered(ASKED)
        except AskError as error:
            self.up = False
            self._errors.failed(ASKED, error)
        return self._last[1] if self._last and now - self._last[0] < KEEP_SECONDS else None

    def _answer(self) -> Answer:
        pods = self._call("List", LIST)
        return Answer(tuple(_given(pods)), self._allocatable())

    def _allocatable(self) -> dict[str, int]:
        """Kubelets before 1.23 do not tell: what pods hold is worth having all the same."""
        try:
            answer = self._call("GetAllocatableResources", ALLOCATABLE)
        except AskError as error:
            self._errors.failed(ASKED_ALLOCATABLE, error)
            return {}
        self._errors.answered(ASKED_ALLOCATABLE)
        counts: Counter[str] = Counter()
        for devices in answer["devices"]:
            counts[text(devices, "resource_name")] += len(devices["device_ids"])
        return dict(counts)

    def _call(self, method: str, schema: Schema) -> Message:
        # Only a Kubernetes node pays for HTTP/2.
        from .unary import call

        data = call(self._socket, _SERVICE + method, CALL_SECONDS)
        before = self._decoded.get(method)
        if before is not None and before[0] == data:
            return before[1]
        try:
            self._decoded[method] = data, decode(data, schema)
        except WireError as error:
            raise AskError("protocol", f"{method}: {error}") from error
        return self._decoded[method][1]


def _is_there(directory: Path) -> bool:
    try:
        return directory.is_dir()
    except OSError:  # not ours to look into: asking will say so
        return True


def _given(answer: Message) -> Iterator[Given]:
    for pod in answer["pod_resources"]:
        for container in pod["containers"]:
            who = text(pod, "namespace"), text(pod, "name"), text(container, "name")
            for resource, names in _devices(container):
                yield Given(*who, resource, names)


def _devices(container: Message) -> Iterator[tuple[str, tuple[str, ...]]]:
    for devices in container["devices"]:
        for name in devices["device_ids"]:
            yield text(devices, "resource_name"), (name,)
    for claim in container["dynamic_resources"]:
        for device in claim["claim_resources"]:
            cdi = (text(name, "name").rpartition("=")[2] for name in device["cdi_devices"])
            yield text(device, "driver_name"), (text(device, "device_name"), *cdi)
