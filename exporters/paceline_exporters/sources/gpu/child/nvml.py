"""NVML through nvidia-ml-py. The one file that imports it: calls are timed, and errors named by what to do."""

from __future__ import annotations

import math
import struct
import sys
import time
import types
from collections.abc import Sequence
from typing import Any

from .announcing import Announcer

_util = types.ModuleType("ctypes.util")
_util.find_library = None  # type: ignore[attr-defined] # a module made here
_is_light = sys.modules.setdefault("ctypes.util", _util) is _util
# pynvml imports ctypes.util for a function that it never calls; with the modules behind it (subprocess, shutil,
# and so on), it is 2 MiB of the child's 14.
import pynvml  # noqa: E402 - see above

if _is_light:
    del sys.modules["ctypes.util"]  # whoever needs it gets the real one

Handle = Any
"""An nvmlDevice_t."""
Scoped = tuple[int, int]
"""A field id, and its scope: a link, or ALL_LINKS, or 0 where there is none."""

ALL_LINKS = 0xFFFFFFFF
NO_VALUE = 2**64 - 1
"""NVML_VALUE_NOT_AVAILABLE of an unsigned 64-bit value."""
XID_EVENT = pynvml.nvmlEventTypeXidCriticalError
MIG_EVENT = pynvml.nvmlEventMigConfigChange


class Failed(Exception):
    """A call did not answer this time, for a reason that says nothing about the next time."""


class Unsupported(Failed):
    """This GPU, driver or user does not have it: do not ask again."""


class Lost(Failed):
    """This GPU does not answer any more: leave it alone, the others are well."""


class DriverGone(Exception):
    """Nothing can be had from this process any more: end it and start another."""


_KINDS: dict[type[Exception], tuple[str, ...]] = {
    Unsupported: (
        "INVALID_ARGUMENT",
        "NOT_SUPPORTED",
        "NO_PERMISSION",
        "NOT_FOUND",
        "FUNCTION_NOT_FOUND",
        "VGPU_ECC_NOT_SUPPORTED",
        "ARGUMENT_VERSION_MISMATCH",
        "DEPRECATED",
    ),
    Lost: ("GPU_IS_LOST", "RESET_REQUIRED", "GPU_NOT_FOUND", "INSUFFICIENT_POWER", "IRQ_ISSUE"),
    DriverGone: ("UNINITIALIZED", "DRIVER_NOT_LOADED", "LIBRARY_NOT_FOUND", "LIB_RM_VERSION_MISMATCH"),
}
# Names, not values: one that this release of the bindings lacks is left out.
_CLASS_OF: dict[int, type[Exception]] = {
    getattr(pynvml, f"NVML_ERROR_{name}"): kind
    for kind, names in _KINDS.items()
    for name in names
    if hasattr(pynvml, f"NVML_ERROR_{name}")
}
_NAME_OF: dict[int, str] = {
    value: name.removeprefix("NVML_ERROR_").lower()
    for name, value in vars(pynvml).items()
    if name.startswith("NVML_ERROR_")
}
# Read from the structs' memory: attributes of pynvml's structs cost microseconds each.
_FIELD = struct.Struct("=8x16xII8x")
"""nvmlFieldValue_t: field, scope, two times, then valueType, nvmlReturn, and the value."""
_VALUE_OFFSET = 32
_VALUES = {kind: struct.Struct(f"={code}") for kind, code in enumerate("dIQQqiH")}
"""By nvmlValueType_t: double, unsigned, unsigned long, unsigned long long, long long, int, unsigned short."""
_METRIC = struct.Struct("=IId24x")
"""nvmlGpmMetric_t: metricId, nvmlReturn, value, and three strings."""


class Nvml:
    """The library, loaded and initialised. Every method may raise Failed or DriverGone."""

    def __init__(self, announcer: Announcer) -> None:
        """`announcer` is told of each call."""
        self._announcer = announcer
        self.seconds = 0.0
        """Wall time spent in calls, waits for events left out."""
        self.errors: dict[str, int] = {}
        """By error, how often calls and fields were Failed and no kind of it."""
        self.call("nvmlInitWithFlags", 0)
        self.driver_version: str = self.call("nvmlSystemGetDriverVersion")
        major = self.driver_version.partition(".")[0]
        self.driver_major = int(major) if major.isdecimal() else 0
        self._requests: dict[tuple[int, ...], Any] = {}

    def call(self, function: str, *arguments: Any) -> Any:
        """The result of a function of pynvml, by name: an older release of the bindings may lack it."""
        known = getattr(pynvml, function, None)
        if known is None:
            raise Unsupported("bindings")
        began = time.monotonic()
        self._announcer.renew(began)
        try:
            return known(*arguments)
        except pynvml.NVMLError as error:
            raise self._failure(error.value) from None
        finally:
            self.seconds += time.monotonic() - began

    def fields(self, handle: Handle, scoped: Sequence[Scoped]) -> list[float | Failed]:
        """The values of fields, in one call; each that has none in the form of its error."""
        answers = self.call("nvmlDeviceGetFieldValues", handle, list(scoped))
        return [
            _value(kind, answers, place * _FIELD.size + _VALUE_OFFSET)
            if error == 0
            else self._field_failure(error)
            for place, (kind, error) in enumerate(_FIELD.iter_unpack(answers))
        ]

    def memory(self, handle: Handle) -> Any:
        """Bytes total, reserved, free, used. A driver that knows no `reserved` counts it as used."""
        try:
            return self.call("nvmlDeviceGetMemoryInfo", handle, pynvml.nvmlMemory_v2)
        except Unsupported:
            return self.call("nvmlDeviceGetMemoryInfo", handle)

    def fabric(self, handle: Handle) -> Any:
        """The GPU's registration with the NVLink fabric (nvmlGpuFabricInfo_v2_t)."""
        info = pynvml.c_nvmlGpuFabricInfo_v2_t()
        self.call("nvmlDeviceGetGpuFabricInfoV", handle, pynvml.byref(info))
        return info

    def gpm_metrics(self, ids: tuple[int, ...], earlier: Any, later: Any) -> dict[int, float]:
        """GPM metrics between two samples, by id; those that have no value are left out."""
        request = self._requests.get(ids)
        if request is None:
            request = self._requests[ids] = _gpm_request(ids)
        request.sample1, request.sample2 = earlier, later
        self.call("nvmlGpmMetricsGet", request)
        start = type(request).metrics.offset
        answered = memoryview(request).cast("B")[start : start + len(ids) * _METRIC.size]
        return {
            metric: value
            for metric, error, value in _METRIC.iter_unpack(answered)
            if error == 0 and math.isfinite(value)
        }

    def wait(self, events: Any, seconds: float) -> Any:
        """The next event (nvmlEventData_t), None when none came in time."""
        try:
            return pynvml.nvmlEventSetWait_v2(events, math.ceil(seconds * 1000))
        except pynvml.NVMLError as error:
            if error.value == pynvml.NVML_ERROR_TIMEOUT:
                return None
            raise _named(error.value) from None  # not counted: it may do so at once, again and again

    def _failure(self, code: int) -> Exception:
        named = _named(code)
        if type(named) is Failed:
            self.errors[str(named)] = self.errors.get(str(named), 0) + 1
        return named

    def _field_failure(self, code: int) -> Failed:
        named = self._failure(code)
        return named if isinstance(named, Failed) else Failed(str(named))


def same(one: Handle, other: Handle) -> bool:
    """Whether two handles are of the same GPU."""
    address = pynvml.c_void_p
    return bool(pynvml.cast(one, address).value == pynvml.cast(other, address).value)


def _named(code: int) -> Exception:
    return _CLASS_OF.get(code, Failed)(_NAME_OF.get(code, f"error_{code}"))


def _value(kind: int, answers: Any, offset: int) -> float | Failed:
    number: float = _VALUES.get(kind, _VALUES[3]).unpack_from(answers, offset)[0]
    return Failed("not_available") if number == NO_VALUE else number


def _gpm_request(ids: Sequence[int]) -> Any:
    request = pynvml.c_nvmlGpmMetricsGet_t()
    request.version = pynvml.NVML_GPM_METRICS_GET_VERSION
    request.numMetrics = len(ids)
    for place, metric in enumerate(ids):
        request.metrics[place].metricId = metric
    return request
