"""One GPU, or one MIG instance of it: what it is, and what is sampled of it, by group."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from .asking import Asker, Values
from .gpm import Gpm
from .nvml import Failed, Handle, Lost, Nvml, Unsupported
from .readings import (
    FAST_CALLS,
    FAST_FIELDS,
    RARE_CALLS,
    RARE_FIELDS,
    SLOW_CALLS,
    SLOW_FIELDS,
    VIOLATION_CALLS,
)

_LABELS = {
    "name": "nvmlDeviceGetName",
    "serial": "nvmlDeviceGetSerial",
    "vbios": "nvmlDeviceGetVbiosVersion",
    "minor": "nvmlDeviceGetMinorNumber",
}
_FABRIC_DEGRADED_TRUE = 1
"""NVML_GPU_FABRIC_HEALTH_MASK_DEGRADED_BW_TRUE, of the mask's two lowest bits; 0 is *not supported*."""
_FABRIC_UNSUPPORTED = 0
_ASK_AGAIN_SECONDS = 300.0
"""After which what was not supported is asked anew: a right may have been given, or a mode changed."""


class Device:
    """What a GPU and a MIG instance have in common: memory, GPM, processes."""

    def __init__(self, nvml: Nvml, handle: Handle, gpm: Gpm) -> None:
        self.handle = handle
        self.uuid: str = nvml.call("nvmlDeviceGetUUID", handle)
        self._nvml = nvml
        self._gpm = gpm
        self._lacking: set[str] = set()

    def forget_lacking(self) -> None:
        """What was not supported may be from here on."""
        self._lacking.clear()

    def fast(self) -> Values:
        """What changes by the second. Raises Lost or DriverGone."""
        values: Values = {}
        self._optional("memory", self._memory, values)
        return values

    def activity(self) -> Values:
        """How busy its parts were since the last time; empty the first time. Raises Lost or DriverGone."""
        values: Values = {}
        self._optional("gpm", self._gpm.read, values)
        return values

    def processes(self) -> Values:
        """Those that compute, by pid, with their bytes of memory (-1 where the driver does not say)."""
        values: Values = {}
        self._optional("processes", self._processes, values)
        return values

    def close(self) -> None:
        """Give back what NVML keeps for it."""
        self._gpm.close()

    def _optional(self, what: str, read: Callable[[Values], None], values: Values) -> None:
        if what in self._lacking:
            return
        try:
            read(values)
        except Lost:
            raise
        except Unsupported:
            self._lacking.add(what)
        except Failed:
            return  # absent this time

    def _memory(self, values: Values) -> None:
        memory = self._nvml.memory(self.handle)
        for kind in ("total", "reserved", "free", "used"):
            if hasattr(memory, kind):
                values[f"memory_{kind}_bytes"] = getattr(memory, kind)

    def _processes(self, values: Values) -> None:
        found = self._nvml.call("nvmlDeviceGetComputeRunningProcesses_v3", self.handle)
        values["processes"] = {
            str(one.pid): -1 if one.usedGpuMemory is None else one.usedGpuMemory for one in found
        }


class Instance(Device):
    """A MIG instance."""

    def __init__(self, nvml: Nvml, parent: Handle, handle: Handle) -> None:
        self.gi: int = nvml.call("nvmlDeviceGetGpuInstanceId", handle)
        self.ci: int = nvml.call("nvmlDeviceGetComputeInstanceId", handle)
        super().__init__(nvml, handle, Gpm(nvml, parent, self.gi))
        # "NVIDIA H100 80GB HBM3 MIG 1g.10gb"
        self.profile = str(nvml.call("nvmlDeviceGetName", handle)).rpartition("MIG ")[2]

    def describe(self) -> dict[str, Any]:
        """For the topology."""
        return {"uuid": self.uuid, "gi": str(self.gi), "ci": str(self.ci), "profile": self.profile}


class Gpu(Device):
    """A whole GPU and the MIG instances on it."""

    def __init__(self, nvml: Nvml, handle: Handle, index: int) -> None:
        super().__init__(nvml, handle, Gpm(nvml, handle))
        pci = nvml.call("nvmlDeviceGetPciInfo_v3", handle)
        # Field `device` is the whole function's: NVML writes 00000000:3B:00.0 for what sysfs calls 0000:3b:00.0.
        self.pci = f"{pci.domain:04x}:{pci.bus:02x}:{pci.device:02x}.0"
        self.index = index
        self.instances: dict[str, Instance] = {}
        self.labels: Mapping[str, str] = {name: self._label(function) for name, function in _LABELS.items()}
        self._asker = Asker(nvml, handle)
        self._mig_mode = 0
        self._forgot_at = time.monotonic()

    def describe(self) -> dict[str, Any]:
        """For the topology."""
        mig = [instance.describe() for instance in self.instances.values()]
        return {"uuid": self.uuid, "index": self.index, "pci": self.pci, **self.labels, "mig": mig}

    def fast(self) -> Values:
        """As Device. A GPU that answers nothing at all counts as lost."""
        self._asker.expect()
        values = super().fast()
        self._asker.calls(FAST_CALLS, values)
        self._asker.fields(FAST_FIELDS, values)
        if "throttle_seconds_total" not in values:
            self._asker.calls(VIOLATION_CALLS, values)
        if not values:
            self._asker.check_alive()
        return values

    def forget_lacking(self) -> None:
        """Also of its instances."""
        super().forget_lacking()
        self._asker.forget()
        for instance in self.instances.values():
            instance.forget_lacking()
        self._forgot_at = time.monotonic()

    def slow(self) -> Values:
        """Errors, links, limits and modes. Raises Lost or DriverGone."""
        if time.monotonic() - self._forgot_at >= _ASK_AGAIN_SECONDS:
            self.forget_lacking()
        values: Values = {}
        self._asker.calls(SLOW_CALLS, values)
        self._asker.fields(SLOW_FIELDS, values)
        self._optional("fabric", self._fabric, values)
        return values

    def rare(self) -> Values:
        """What changes seldom, or costs much. Raises Lost or DriverGone."""
        values: Values = {}
        self._asker.calls(RARE_CALLS, values)
        self._asker.fields(RARE_FIELDS, values)
        return values

    def look_for_instances(self) -> bool:
        """Whether MIG instances came or went. Raises Lost or DriverGone."""
        try:
            mode = self._current_mig_mode()
            found = {one: self._instance(one, handle) for one, handle in self._instance_handles(mode).items()}
        except Lost:
            raise
        except Failed:
            return False  # it changes at this moment: the next look will see what became of it
        is_changed = found.keys() != self.instances.keys()
        for gone in self.instances.keys() - found.keys():
            self.instances[gone].close()
        self.instances = found
        if is_changed or mode != self._mig_mode:  # MIG takes some readings away, and gives them back
            self._mig_mode = mode
            self.forget_lacking()
        return is_changed

    def _current_mig_mode(self) -> int:
        try:
            return int(self._nvml.call("nvmlDeviceGetMigMode", self.handle)[0])
        except Unsupported:
            return 0

    def _instance(self, uuid: str, handle: Handle) -> Instance:
        known = self.instances.get(uuid)
        if known is None:
            return Instance(self._nvml, self.handle, handle)
        known.handle = handle  # the one from before may be of an instance that was made anew under the same UUID
        return known

    def _instance_handles(self, mig_mode: int) -> dict[str, Handle]:
        if not mig_mode:
            return {}
        try:
            most = self._nvml.call("nvmlDeviceGetMaxMigDeviceCount", self.handle)
        except Unsupported:
            return {}
        handles = {}
        for place in range(most):
            try:
                handle = self._nvml.call("nvmlDeviceGetMigDeviceHandleByIndex", self.handle, place)
            except Unsupported:
                continue  # places are sparse
            handles[self._nvml.call("nvmlDeviceGetUUID", handle)] = handle
        return handles

    def _fabric(self, values: Values) -> None:
        fabric = self._nvml.fabric(self.handle)
        if fabric.state == _FABRIC_UNSUPPORTED:
            raise Unsupported("fabric")
        values["fabric_state"] = fabric.state
        values["fabric_status"] = fabric.status
        degraded = fabric.healthMask & 0x3
        if degraded:
            values["fabric_degraded"] = int(degraded == _FABRIC_DEGRADED_TRUE)

    def _label(self, function: str) -> str:
        try:
            return str(self._nvml.call(function, self.handle))
        except Lost:
            raise
        except Failed:
            return ""
