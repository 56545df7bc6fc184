"""What the child reads from the bindings' structs without their attributes is where the bindings have it."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import pynvml
import pytest

from paceline_exporters.sources.gpu.child import nvml

MEMBERS = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}


def answers(*values: tuple[int, float | int]) -> Any:
    array = (pynvml.c_nvmlFieldValue_t * len(values))()
    for entry, (kind, value) in zip(array, values, strict=True):
        ctypes.memset(ctypes.byref(entry), 0xFF, ctypes.sizeof(entry))  # what is beside a short value is noise
        entry.valueType, entry.nvmlReturn = kind, 0
        setattr(entry.value, MEMBERS[kind], value)
    return array


@pytest.mark.parametrize(
    ("kind", "value"), [(0, 0.25), (1, 2**31 + 1), (2, 2**63), (3, 2**63 + 1), (4, -5), (5, -7), (6, 65535)]
)
def test_a_fields_value_is_read_by_its_type(monkeypatch: pytest.MonkeyPatch, kind: int, value: float) -> None:
    library = object.__new__(nvml.Nvml)
    found = answers((3, 1), (kind, value), (3, 2))
    monkeypatch.setattr(library, "call", lambda *_: found)
    assert library.fields(None, [(1, 0), (2, 0), (3, 0)]) == [1, value, 2]


def test_a_field_that_has_no_value_is_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    library = object.__new__(nvml.Nvml)
    found = answers((3, 1), (3, nvml.NO_VALUE))
    found[0].nvmlReturn = pynvml.NVML_ERROR_NOT_SUPPORTED
    monkeypatch.setattr(library, "call", lambda *_: found)
    first, second = library.fields(None, [(1, 0), (2, 0)])
    assert type(first) is nvml.Unsupported
    assert type(second) is nvml.Failed


def test_metrics_of_gpm_are_read_by_id(monkeypatch: pytest.MonkeyPatch) -> None:
    library = object.__new__(nvml.Nvml)
    library._requests = {}

    def call(_: str, request: Any) -> None:
        for place, (error, value) in enumerate([(0, 12.5), (3, 1.0), (0, math.nan), (0, 99.0)]):
            request.metrics[place].nvmlReturn, request.metrics[place].value = error, value

    monkeypatch.setattr(library, "call", call)
    for _ in range(2):
        assert library.gpm_metrics((2, 5, 9, 61), None, None) == {2: 12.5, 61: 99.0}
