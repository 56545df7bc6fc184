"""What the tests on a GPU read of a trace, on traces that hold it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from device_traces import PAGEABLE, calls, device_seconds, read, taken_by_nccl, waits


def lasting(cat: str, name: str, ts: float, dur: float, correlation: int | None = None) -> dict[str, Any]:
    args = {} if correlation is None else {"correlation": correlation}
    return {"ph": "X", "cat": cat, "name": name, "ts": ts, "dur": dur, "args": args}


TRACE = [
    {"ph": "M", "name": "process_name"},
    lasting("user_annotation", "window", 0.0, 400.0),
    lasting("user_annotation", "forward", 0.0, 100.0),
    lasting("gpu_user_annotation", "forward", 50.0, 900.0),
    lasting("user_annotation", "backward", 100.0, 100.0),
    lasting("user_annotation", "forward", 300.0, 100.0),
    lasting("cuda_runtime", "cudaMemcpyAsync", 10.0, 1.0, 1),
    lasting("cuda_runtime", "cudaLaunchKernel", 20.0, 1.0, 2),
    lasting("cuda_driver", "cuLaunchKernelEx", 30.0, 1.0, 3),
    lasting("cuda_runtime", "cudaLaunchKernel", 120.0, 1.0, 4),
    lasting("cuda_runtime", "cudaStreamSynchronize", 320.0, 50.0, 5),
    lasting("cuda_runtime", "cudaDeviceSynchronize", 500.0, 50.0, 6),
    lasting("gpu_memcpy", "Memcpy HtoD (Pageable -> Device)", 60.0, 100.0, 1),
    lasting("kernel", "gemm", 200.0, 1000.0, 2),
    lasting("kernel", "relu", 1300.0, 760.0, 3),
    lasting("kernel", "gemm", 2060.0, 4000.0, 4),
]


@pytest.fixture
def trace(tmp_path: Path) -> list[dict[str, Any]]:
    (tmp_path / "trace.json").write_text(json.dumps({"traceEvents": TRACE}))
    return read(tmp_path / "trace.json")


def test_a_phase_is_as_long_as_what_it_launched(trace: list[dict[str, Any]]) -> None:
    assert device_seconds(trace, "forward") == pytest.approx([0.002, 0.0])  # the second launched nothing
    assert device_seconds(trace, "backward") == pytest.approx([0.004])
    assert device_seconds(trace, "optimizer") == []


def test_calls_are_those_of_the_window(trace: list[dict[str, Any]]) -> None:
    counted = calls(trace, "window")
    assert counted["cudaLaunchKernel"] == 2
    assert waits(counted) == {"cudaStreamSynchronize": 1, PAGEABLE: 1}
    assert waits(calls(trace, "backward")) == {}


@pytest.mark.slow
def test_a_trace_of_torchs_own_has_what_is_asked_of_it(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for _ in range(2):
            with torch.profiler.record_function("forward"):
                torch.ones(8).sum()
    profiler.export_chrome_trace(str(tmp_path / "trace.json"))
    assert device_seconds(read(tmp_path / "trace.json"), "forward") == [0.0, 0.0]
    assert calls(read(tmp_path / "trace.json"), "forward").total() == 0


def test_what_nccl_took_is_in_its_log() -> None:
    log = (
        "node:1:1 [0] NCCL INFO NCCL_SOCKET_IFNAME set by environment to lo\n"
        "node:1:1 [0] NCCL INFO Bootstrap : Using lo:127.0.0.1<0>\n"
        "node:1:9 [0] NCCL INFO NCCL_BUFFSIZE set by environment to 8388608.\n"
    )
    assert taken_by_nccl(log) == {"NCCL_SOCKET_IFNAME": "lo", "NCCL_BUFFSIZE": "8388608"}
