"""The job that the tests on a GPU look at, where there is none."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from device_traces import device_seconds
from profiled_job import PHASES, Profiled, Size, profiled

TINY = Size(steps=3, width=8, layers=2, batch=4)


@pytest.mark.slow
@pytest.mark.parametrize("hooks", [True, False])
def test_ring_and_trace_hold_the_steps_under_the_profiler(tmp_path: Path, hooks: bool) -> None:
    pytest.importorskip("torch")
    found = profiled(tmp_path, TINY, device="cpu", hooks=hooks)
    assert [len(device_seconds(found.trace, name)) for name in (*PHASES, "window")] == [3, 3, 3, 1]
    assert [row["step"] for row in found.rows] == ([13.0, 14.0, 15.0] if hooks else [])
    assert all(math.isnan(row["gpu_forward_seconds"]) for row in found.rows)


def test_a_job_that_fails_says_why(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    with pytest.raises(RuntimeError, match="of no such device"):
        profiled(tmp_path, TINY, device="of no such device")


def test_ring_and_profiler_are_compared_by_phase() -> None:
    trace = []
    for number, phase in enumerate(PHASES):
        at = 100.0 * number
        trace.append({"cat": "user_annotation", "name": phase, "ts": at, "dur": 50.0})
        trace.append({"cat": "cuda_runtime", "name": "l", "ts": at, "dur": 1.0, "args": {"correlation": number}})
        trace.append({"cat": "kernel", "name": "k", "ts": at, "dur": 1000.0, "args": {"correlation": number}})
    row = {"gpu_forward_seconds": 0.00101, "gpu_backward_seconds": 0.001, "gpu_optimizer_seconds": 0.0009}
    assert Profiled(trace, [row]).apart() == pytest.approx({"forward": 0.01, "backward": 0.0, "optimizer": -0.1})
