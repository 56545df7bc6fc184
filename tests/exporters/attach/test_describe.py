from __future__ import annotations

import math

import pytest

from paceline_exporters.attach.describe import gpu_uuid, within


@pytest.mark.parametrize(
    ("visible", "index", "uuid", "named"),
    [
        ("", 0, "0aa1", "GPU-0aa1"),
        ("2,3", 1, "0aa1", "GPU-0aa1"),
        ("GPU-0aa1", 0, "0aa1", "GPU-0aa1"),
        ("MIG-1, MIG-2", 1, "0aa1", "MIG-2"),
        ("MIG-1", 3, None, None),
    ],
)
def test_a_gpu_is_named_as_nvml_names_it(visible: str, index: int, uuid: str | None, named: str | None) -> None:
    assert gpu_uuid(visible, index, uuid) == named


def test_a_number_that_an_allocator_does_not_tell_is_unknown() -> None:
    statistics = {"allocated_bytes": {"all": {"peak": 7}}, "num_alloc_retries": 0}
    assert within(statistics, ("allocated_bytes", "all", "peak")) == 7.0
    assert within(statistics, ("num_alloc_retries",)) == 0.0
    assert math.isnan(within(statistics, ("reserved_bytes", "all", "current")))
