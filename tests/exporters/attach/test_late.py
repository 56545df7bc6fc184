"""What arrives late from a GPU, on a device whose events complete when the test says so."""

from __future__ import annotations

import math
from typing import Any

import pytest

from paceline_exporters.attach import layout
from paceline_exporters.attach.clock import GRAD_NORM, LOSS
from paceline_exporters.attach.late import (
    AFTER,
    BACKWARD,
    DONE,
    MOST_MARKS,
    OPTIMIZER,
    OWN,
    PATIENCE,
    READY,
    Late,
    phases,
)

torch = pytest.importorskip("torch")
GPU = [name for name in layout.STEP_FIELDS if name.startswith("gpu_") and name.endswith("_seconds")]
ONE_STEP = (READY, BACKWARD, AFTER, OPTIMIZER, DONE)


class Event:
    """As much of torch.cuda.Event as is used; the device's clock is the count of records."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.at: float | None = None

    def record(self) -> None:
        self.device.now += 0.001
        self.at = self.device.now

    def query(self) -> bool:
        return self.at is not None and self.at <= self.device.reached

    def synchronize(self) -> None:
        self.device.waits += 1
        self.device.reached = math.inf

    def elapsed_time(self, later: Event) -> float:
        assert self.query() and later.query(), "a time was read that is not there yet"
        assert self.at is not None and later.at is not None
        return (later.at - self.at) * 1e3


class Device:
    """Stands for Cuda."""

    def __init__(self) -> None:
        self.now, self.reached = 0.0, math.inf
        self.waits = self.made = 0
        self.graph = False

    def event(self) -> Event:
        self.made += 1
        return Event(self)

    def buffer(self) -> Any:
        return torch.empty(4)

    def total(self, scalars: list[Any]) -> float:
        return float(sum(scalars))

    def capturing(self) -> bool:
        return self.graph


class Told(list[dict[str, float]]):
    """Records as they are written."""

    def __init__(self) -> None:
        self.device = Device()
        self.bad: list[float] = []
        self.late = Late(self.device, self.write, lambda number, _: self.bad.append(number))
        self.step(0.0, marks=())  # the one in which it began

    def write(self, values: list[float]) -> None:
        self.append(dict(zip(layout.STEP_FIELDS, values, strict=True)))

    def step(self, loss: float, norm: float | None = 0.5, marks: tuple[int, ...] = ONE_STEP) -> None:
        for kind in marks:
            self.late.mark(kind)
        values = [math.nan] * len(layout.STEP_FIELDS)
        values[0] = loss
        self.late.write(values, [loss], norm, None, [])


def test_a_record_waits_for_its_values_and_keeps_its_place() -> None:
    told = Told()
    told.clear()
    told.device.reached = told.device.now
    told.step(1.0)
    told.step(2.0)
    assert told == []
    told.device.reached = math.inf
    told.step(3.0)
    assert [row["loss"] for row in told] == [1.0, 2.0, 3.0]
    assert {row["grad_norm"] for row in told} == {0.5}
    assert told.device.waits == 0


def test_after_a_while_it_is_written_without() -> None:
    told = Told()
    told.clear()
    told.device.reached = told.device.now
    for number in range(PATIENCE + 2):
        told.step(float(number))
    assert [row["step"] for row in told] == [0.0, 1.0]
    assert all(math.isnan(row[name]) for row in told for name in (*GPU, "loss", "grad_norm"))


def test_phases_are_what_lies_between_the_marks() -> None:
    told = Told()
    told.step(1.0, marks=(READY, BACKWARD, OWN, AFTER, READY, BACKWARD, OWN, AFTER, OPTIMIZER, DONE))
    row = told[-1]
    assert [round(row[name], 6) for name in GPU] == [0.002, 0.004, 0.001, 0.009, 0.002]


def test_without_a_loader_forward_begins_after_what_came_last() -> None:
    told = Told()
    told.step(1.0, marks=(READY, BACKWARD, AFTER, BACKWARD, AFTER, OPTIMIZER, DONE))
    assert [round(told[-1][name], 6) for name in GPU[:-1]] == [0.002, 0.002, 0.001, 0.006]


@pytest.mark.parametrize(
    ("marks", "known"),
    [((), []), ((BACKWARD, AFTER), ["gpu_backward_seconds"]), ((OPTIMIZER, DONE), [GPU[2], GPU[3]])],
)
def test_a_phase_without_its_marks_is_unknown(marks: tuple[int, ...], known: list[str]) -> None:
    device = Device()
    events = []
    for kind in marks:
        event = device.event()
        event.record()
        events.append((kind, event))
    seconds = phases(events)
    assert [name for name, value in zip(GPU, seconds, strict=True) if not math.isnan(value)] == known


def test_events_come_from_a_pool() -> None:
    told = Told()
    told.step(1.0)
    made = told.device.made
    for number in range(50):
        told.step(float(number))
    assert told.device.made == made


def test_the_step_in_which_it_began_and_one_of_very_many_marks_have_no_phases() -> None:
    told = Told()
    told.step(1.0, marks=ONE_STEP * MOST_MARKS)
    told.step(2.0)
    known = [not math.isnan(row["gpu_step_seconds"]) for row in told]
    assert known == [False, False, True]
    assert [row["loss"] for row in told] == [0.0, 1.0, 2.0]


def test_a_graph_that_is_captured_is_left_alone() -> None:
    told = Told()
    told.device.graph = True
    made, now = told.device.made, told.device.now
    told.step(1.0)
    assert (told.device.made, told.device.now) == (made, now)
    assert math.isnan(told[-1]["loss"])
    told.device.graph = False
    told.step(2.0)
    assert told[-1]["gpu_step_seconds"] > 0


def test_a_device_that_fails_costs_its_times_only(capsys: pytest.CaptureFixture[str]) -> None:
    told = Told()
    told.step(1.0)

    def broken() -> bool:
        raise RuntimeError("of the driver")

    told.device.capturing, working = broken, told.device.capturing  # type: ignore[method-assign]
    told.late.mark(READY)
    told.device.capturing = working  # type: ignore[method-assign]
    told.step(2.0)
    assert math.isnan(told[-1]["gpu_step_seconds"]) and told[-1]["loss"] == 2.0
    assert "timing the GPU failed" in capsys.readouterr().err


@pytest.mark.parametrize("wait", [True, False])
def test_at_the_end_it_waits_only_where_it_may(wait: bool) -> None:
    told = Told()
    told.clear()
    told.device.reached = told.device.now
    told.step(1.0)
    told.late.flush(wait)
    (row,) = told
    assert told.device.waits == int(wait)
    assert math.isnan(row["loss"]) is not wait


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_told_when_it_is_known(loss: float) -> None:
    told = Told()
    told.step(1.0)
    told.step(loss)
    assert len(told.bad) == 1


def test_an_unknown_loss_is_not_a_bad_one() -> None:
    told = Told()
    values = [math.nan] * len(layout.STEP_FIELDS)
    told.late.write(values, [], None, torch.tensor(0.25), [20, 22])
    assert told.bad == []
    assert math.isnan(told[-1]["loss"]) and told[-1]["grad_norm_first_micro"] == 0.25
    assert told[-1]["real_tokens"] == 42


def test_on_a_gpu_the_record_comes_late_and_in_order() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    from paceline_exporters.attach.late import Cuda

    rows: list[list[float]] = []
    late = Late(Cuda(torch), rows.append, lambda *_: None)
    for number in range(PATIENCE + 3):
        for kind in ONE_STEP:
            late.mark(kind)
        losses = [torch.tensor(float(number), device="cuda")]
        late.write([math.nan] * len(layout.STEP_FIELDS), losses, torch.tensor(0.5, device="cuda"), None, losses)
    late.flush(wait=True)
    expected = [(float(n), 0.5, float(n)) for n in range(PATIENCE + 3)]
    real = layout.STEP_FIELDS.index("real_tokens")
    assert [(row[LOSS], row[GRAD_NORM], row[real]) for row in rows] == expected
