from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from paceline_exporters.attach import layout, session
from paceline_exporters.attach.recorder import Recorder
from paceline_exporters.attach.scalars import GRAD_NORM, LOSS, PATIENCE, Scalars
from paceline_exporters.rings import RingReader

torch = pytest.importorskip("torch")


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    recorder = Recorder(tmp_path, {})
    monkeypatch.setattr(session, "_recorder", recorder)
    opened = RingReader.open(recorder.path)
    opened.recorder = recorder  # type: ignore[attr-defined]
    yield opened
    opened.close()


def values() -> list[float]:
    return [math.nan] * len(layout.STEP_FIELDS)


def rows(reader: RingReader) -> list[tuple[float, float]]:
    read = reader.steps(0, reader.cursors()[0])
    return [(row[LOSS], row[GRAD_NORM]) for row in read if row is not None]


@pytest.mark.parametrize("grad_norm", [0.5, torch.tensor(0.5)])
def test_on_a_cpu_the_loss_of_all_micro_steps_is_there_at_once(reader: Any, grad_norm: Any) -> None:
    scalars = Scalars(torch.device("cpu"), reader.recorder)
    scalars.write(values(), [torch.tensor(1.5), torch.tensor(0.25)], grad_norm)
    assert rows(reader) == [(1.75, 0.5)]


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_the_first_loss_that_is_not_finite_is_an_event(reader: Any, loss: float) -> None:
    scalars = Scalars(torch.device("cpu"), reader.recorder)
    for one in (1.0, loss, loss):
        scalars.write(values(), [torch.tensor(one)], None)
    (event,) = reader.events(0)
    assert (event.kind, event.detail) == ("nan", {"loss": str(loss)})


def test_on_a_gpu_the_record_comes_late_and_in_order(reader: Any) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    device = torch.device("cuda")
    scalars = Scalars(device, reader.recorder)
    for number in range(PATIENCE + 3):
        scalars.write(values(), [torch.tensor(float(number), device=device)], torch.tensor(0.5, device=device))
    scalars.flush(wait=True)
    assert rows(reader) == [(float(number), 0.5) for number in range(PATIENCE + 3)]
