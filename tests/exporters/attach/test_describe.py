from __future__ import annotations

import math

import pytest

from paceline_exporters.attach.describe import gpu_uuid, within, work


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


class Sized:
    """As much of a parameter as counting needs."""

    def __init__(self, size: int, trains: bool = True) -> None:
        self.size, self.requires_grad = size, trains

    def numel(self) -> int:
        return self.size


class FlatParameter(Sized):
    """A shard."""


def test_flops_are_those_that_a_parameters_gradients_take() -> None:
    assert work([Sized(10), Sized(5)]) == {"parameters": 15, "flops_per_token": 90.0}
    mixed = [Sized(10, trains=False), Sized(5), Sized(7, trains=False)]
    assert work(mixed)["flops_per_token"] == 2 * 10 + 6 * 5 + 4 * 7
    assert work([Sized(10)], tokens=False) == {"parameters": 10}


def test_nothing_is_counted_of_what_is_not_known() -> None:
    assert work([]) == work([FlatParameter(3), Sized(2)]) == {}
