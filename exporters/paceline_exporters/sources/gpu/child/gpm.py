"""GPM: how busy the parts of a GPU were between two samples. Hopper and newer; needs no DCGM and no rights."""

from __future__ import annotations

from typing import Any

from .asking import Values, put
from .nvml import Failed, Handle, Lost, Nvml, Unsupported
from .readings import GPM_METRICS

_IDS = tuple(GPM_METRICS)


class Gpm:
    """Of a GPU, or of one of its GPU instances: keeps the sample before, for the metrics are differences."""

    def __init__(self, nvml: Nvml, handle: Handle, instance: int | None = None) -> None:
        self._nvml = nvml
        self._handle = handle
        self._instance = instance
        self._samples: list[Any] | None = None
        self._has_earlier = False

    def read(self, values: Values) -> None:
        """Add the metrics since the last time; none the first time. Raises Lost, Unsupported or DriverGone."""
        try:
            earlier, later = self._samples = self._samples or self._allocate()
            self._take(later)
            if self._has_earlier:
                found = self._nvml.gpm_metrics(_IDS, earlier, later)
                put(values, ((*GPM_METRICS[metric], percent / 100) for metric, percent in found.items()))
        except (Lost, Unsupported):
            raise
        except Failed:
            self._has_earlier = False
            return
        self._samples, self._has_earlier = [later, earlier], True

    def close(self) -> None:
        """Give the samples' memory back."""
        for sample in self._samples or ():
            self._nvml.call("nvmlGpmSampleFree", sample)
        self._samples = None

    def _allocate(self) -> list[Any]:
        if not self._nvml.call("nvmlGpmQueryDeviceSupport", self._handle).isSupportedDevice:
            raise Unsupported("gpm")
        return [self._nvml.call("nvmlGpmSampleAlloc") for _ in range(2)]

    def _take(self, sample: Any) -> None:
        if self._instance is None:
            self._nvml.call("nvmlGpmSampleGet", self._handle, sample)
        else:
            self._nvml.call("nvmlGpmMigSampleGet", self._handle, self._instance, sample)
