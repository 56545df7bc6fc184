"""The hooks on a GPU against torch's profiler, what they cost a Trainer, and what NCCL takes of a proposal."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from device_traces import calls, taken_by_nccl, waits
from profiled_job import Size, first_device, profiled

ROOT = Path(__file__).parents[2]
LARGE = Size(steps=20, width=4096, layers=16, batch=2048)
"""Some milliseconds per phase on the fastest device, so that it is the device that is waited for."""


@pytest.fixture(scope="module", autouse=True)
def cuda() -> None:
    """Skips where torch sees no GPU."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip(f"torch {torch.__version__} sees no CUDA device")


def test_phases_between_events_are_as_long_as_the_profiler_sees_them(tmp_path: Path) -> None:
    apart = profiled(tmp_path, LARGE).apart()
    assert {phase: round(part, 4) for phase, part in apart.items() if abs(part) > 0.05} == {}


@pytest.mark.parametrize("reads_loss", [True, False])
def test_with_the_hooks_the_host_waits_as_often_as_without(tmp_path: Path, reads_loss: bool) -> None:
    size = Size(steps=100, width=256, layers=4, batch=64, reads_loss=reads_loss)
    bare = calls(profiled(tmp_path / "bare", size, hooks=False).trace, "window")
    job = profiled(tmp_path / "watched", size)
    watched = calls(job.trace, "window")
    assert len(job.rows) == size.steps and recorded(watched) > recorded(bare)  # they were there
    assert waits(watched) == waits(bare)


def recorded(counted: Counter[str]) -> int:
    """Events that were put on a stream."""
    return sum(number for name, number in counted.items() if name.startswith("cudaEventRecord"))


def test_what_the_hooks_cost_a_trainer_is_written_down() -> None:
    output = ROOT / "build" / "bench" / "steps_gpu.json"
    command = [sys.executable, str(ROOT / "tests" / "benchmarks" / "steps.py"), "--device", "cuda"]
    subprocess.run([*command, "--output", str(output)], check=True, timeout=280, cwd=ROOT)
    figures = json.loads(output.read_text())
    assert figures["hook_steps"] >= 100
    assert figures["hook_p50_us"] < 1000 and figures["hook_share"] < 0.05


ONE_RANK = """
import sys
import torch
import torch.distributed as dist
device = torch.device("cuda", 0)
dist.init_process_group("nccl", init_method=f"file://{sys.argv[1]}", rank=0, world_size=1, device_id=device)
dist.all_reduce(torch.ones(8, device=device))
torch.cuda.synchronize()
dist.destroy_process_group()
"""
SET = {"NCCL_SOCKET_IFNAME": "lo", "NCCL_BUFFSIZE": "8388608", "NCCL_CUMEM_ENABLE": "0"}
"""What NCCL reads with a single rank too; algorithms and protocols it asks for only where there are two."""


def test_nccl_takes_what_a_proposal_sets(tmp_path: Path) -> None:
    proposal = {"study": "s", "trial": 1, "run_id": "r", "kind": "normal", "env": SET}
    (tmp_path / "job.py").write_text(ONE_RANK)
    flags = ["--rings.directory", str(tmp_path / "rings"), "--proposal", json.dumps(proposal)]
    said = ["NCCL_DEBUG=INFO", "NCCL_DEBUG_SUBSYS=INIT,ENV", f"CUDA_VISIBLE_DEVICES={first_device()}"]
    paceline = [sys.executable, "-m", "paceline_exporters", "run", *flags, "--"]
    job = [sys.executable, str(tmp_path / "job.py"), str(tmp_path / "store")]
    command = ["env", *said, *paceline, *job]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    taken = taken_by_nccl(done.stdout + done.stderr)
    assert {name: taken.get(name) for name in SET} == SET
