"""Events of the driver: XIDs as they happen, and changes of MIG instances."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from .gpu import Gpu
from .nvml import MIG_EVENT, XID_EVENT, Failed, Nvml, same

_PAUSE_SECONDS = 1.0
"""After a wait that failed: it does so at once, again and again, while a GPU is lost."""


class Events:
    """Sleeps until something happens, where the driver can tell; else it just sleeps."""

    def __init__(self, nvml: Nvml) -> None:
        self._nvml = nvml
        self._set: Any = None
        self._gpus: Sequence[Gpu] = ()

    def watch(self, gpus: Sequence[Gpu]) -> None:
        """From now on these GPUs. Raises DriverGone."""
        try:
            if self._set is not None:
                self._nvml.call("nvmlEventSetFree", self._set)
            self._set = self._nvml.call("nvmlEventSetCreate")
        except Failed:
            self._set = None
            return
        self._gpus = [gpu for gpu in gpus if self._register(gpu)]

    def wait(self, seconds: float) -> Iterator[tuple[str, int] | None]:
        """At most one event: (UUID, XID), or None for a change of MIG instances. Raises DriverGone."""
        if self._set is None or not self._gpus:
            time.sleep(seconds)
            return
        try:
            event = self._nvml.wait(self._set, seconds)
        except Failed:
            time.sleep(min(seconds, _PAUSE_SECONDS))
            return
        if event is None:
            return
        if event.eventType == MIG_EVENT:
            yield None
        elif event.eventType == XID_EVENT:
            yield from ((gpu.uuid, event.eventData) for gpu in self._gpus if same(gpu.handle, event.device))

    def _register(self, gpu: Gpu) -> bool:
        try:
            known = self._nvml.call("nvmlDeviceGetSupportedEventTypes", gpu.handle)
            wanted = known & (XID_EVENT | MIG_EVENT)
            if wanted:
                self._nvml.call("nvmlDeviceRegisterEvents", gpu.handle, wanted, self._set)
        except Failed:
            return False
        return bool(wanted)
