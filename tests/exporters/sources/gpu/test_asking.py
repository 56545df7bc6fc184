"""What a GPU does not have is not asked for again at once, but again."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from paceline_exporters.sources.gpu.child import gpu as module
from paceline_exporters.sources.gpu.child.asking import Asker, Values
from paceline_exporters.sources.gpu.child.gpu import Gpu
from paceline_exporters.sources.gpu.child.nvml import Failed, Unsupported
from paceline_exporters.sources.gpu.child.readings import Call, Field, one

REPLAYS = "nvmlDeviceGetPcieReplayCounter"


class Library:
    """Answers what it is told to; all else is not supported."""

    driver_major = 580

    def __init__(self, **answers: Any) -> None:
        self.answers = {
            "nvmlDeviceGetUUID": "GPU-1",
            "nvmlDeviceGetPciInfo_v3": SimpleNamespace(domain=0, bus=1, device=0),
            **answers,
        }
        self.field_values: dict[tuple[int, int], float] = {}
        self.asked: list[str] = []

    def call(self, function: str, handle: Any, *_: Any) -> Any:
        self.asked.append(function)
        if function not in self.answers:
            raise Unsupported("not_supported")
        answer = self.answers[function]
        return answer(handle) if callable(answer) else answer

    def fields(self, _: Any, scoped: Sequence[tuple[int, int]]) -> list[float | Failed]:
        self.asked += [f"field:{field}:{scope}" for field, scope in scoped]
        return [self.field_values.get(one, Unsupported("not_supported")) for one in scoped]

    def fabric(self, _: Any) -> Any:
        raise Unsupported("not_supported")


def gpu(library: Library) -> Gpu:
    return Gpu(library, "handle", 0)  # type: ignore[arg-type] # what it needs of one


def test_what_is_not_supported_is_asked_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    device = gpu(library)
    assert "pcie_replays_total" not in device.slow()
    library.answers[REPLAYS] = 3
    library.asked.clear()
    assert "pcie_replays_total" not in device.slow()
    assert REPLAYS not in library.asked, "not at once"
    monkeypatch.setattr(module, "_ASK_AGAIN_SECONDS", 0.0)
    assert device.slow()["pcie_replays_total"] == 3


def test_a_change_of_the_mig_mode_is_reason_to_ask_again() -> None:
    library = Library(nvmlDeviceGetMigMode=[1, 1], nvmlDeviceGetMaxMigDeviceCount=0)
    device = gpu(library)
    assert not device.look_for_instances()
    assert "pcie_replays_total" not in device.slow()
    library.answers |= {REPLAYS: 3, "nvmlDeviceGetMigMode": [0, 0]}
    assert not device.look_for_instances()
    assert device.slow()["pcie_replays_total"] == 3


def test_an_instance_is_asked_through_the_handle_that_was_looked_up_last() -> None:
    uuids = {"handle": "GPU-1", "first": "MIG-1", "second": "MIG-1"}
    library = Library(
        nvmlDeviceGetUUID=uuids.__getitem__,
        nvmlDeviceGetMigMode=[1, 1],
        nvmlDeviceGetMaxMigDeviceCount=1,
        nvmlDeviceGetMigDeviceHandleByIndex="first",
        nvmlDeviceGetGpuInstanceId=1,
        nvmlDeviceGetComputeInstanceId=0,
        nvmlDeviceGetName="NVIDIA H100 MIG 1g.10gb",
    )
    device = gpu(library)
    assert device.look_for_instances()
    library.answers["nvmlDeviceGetMigDeviceHandleByIndex"] = "second"
    assert not device.look_for_instances()
    assert device.instances["MIG-1"].handle == "second"


def test_fields_that_the_driver_lacks_give_way_to_the_next_at_once() -> None:
    library = Library()
    library.field_values = {(32, 0): 7}
    asker = Asker(library, "handle")  # type: ignore[arg-type] # as above
    rows = [Field("errors", "crc", [(163, 0), (163, 1)]), Field("errors", "crc", [(32, 0), (33, 0)])]
    for _ in range(2):
        values: Values = {}
        asker.fields(rows, values)
        assert values == {"errors": {"crc": {"0": 7}}}
    asker.forget()
    library.field_values = {(163, 0): 1, (163, 1): 2}
    values = {}
    asker.fields(rows, values)
    assert values == {"errors": {"crc": {"0": 1, "1": 2}}}


def test_links_that_all_went_down_are_still_asked() -> None:
    library = Library()
    library.field_values = {(163, 0): 7}
    asker = Asker(library, "handle")  # type: ignore[arg-type] # as above
    rows = [Field("errors", "crc", [(163, 0), (163, 1)])]
    for answers in ({(163, 0): 7.0}, {}, {(163, 1): 2.0}):
        library.field_values = answers
        values: Values = {}
        asker.fields(rows, values)
        assert values == {"errors": {"crc": {str(link): value for (_, link), value in answers.items()}}}


def test_a_call_that_is_not_supported_gives_way_to_the_next() -> None:
    library = Library(older=1)
    asker = Asker(library, "handle")  # type: ignore[arg-type] # as above
    rows = [[Call("newer", one("value")), Call("older", one("value"))]]
    for _ in range(2):
        values: Values = {}
        asker.calls(rows, values)
        assert values == {"value": 1}
    assert library.asked == ["newer", "older", "older"]
