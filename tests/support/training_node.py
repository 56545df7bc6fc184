"""A node at work: eight GPUs, ten RDMA ports with traffic, and ranks that train and write their rings."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nvml_stub import Driver, device_uuid
from sysfs_trees import RdmaDevice, dgx

from paceline_exporters.attach import layout
from paceline_exporters.attach.recorder import Recorder

RANKS = 8
STEPS_PER_SECOND = 10
RUN = {"run_id": "bench", "study": "bench", "trial": 0, "kind": "trial", "world_size": RANKS}
RANK_BYTES = 60 << 30
# A step: its phases add up to a tenth of a second.
STEP = {
    "samples": 32.0,
    "tokens": 65536.0,
    "real_tokens": 60000.0,
    "micro_steps": 1.0,
    "grad_norm": 1.0,
    "learning_rate": 1e-4,
    "step_seconds": 0.1,
    "data_wait_seconds": 0.002,
    "sync_wait_seconds": 0.003,
    "forward_seconds": 0.03,
    "backward_seconds": 0.05,
    "optimizer_seconds": 0.01,
    "other_seconds": 0.005,
    "pause_seconds": 0.0,
    "gpu_memory_peak_bytes": 60e9,
}
TRAFFIC_SECONDS = 1.0
# Counter -> what is added to it each second
TRAFFIC = {
    "counters/port_xmit_data": 4_000_000_000,
    "counters/port_rcv_data": 4_000_000_000,
    "counters/port_xmit_packets": 4_000_000,
    "counters/port_rcv_packets": 4_000_000,
    "counters/port_xmit_wait": 1_000,
    "hw_counters/rx_write_requests": 50_000,
}
_fork = multiprocessing.get_context("fork")


class TrainingNode:
    """Its processes run from entering to leaving; with `flags` and `environment` an agent sees them."""

    def __init__(self, directory: Path, builds: Path | None = None) -> None:
        """`builds` is where the stand-in for NVML is built."""
        self.directory = directory
        self.rings, self.sysfs = directory / "rings", directory / "sys"
        self.driver = Driver(directory, builds=builds)
        _, self.devices = dgx(self.sysfs)
        self._ranks: dict[int, Any] = {}
        self._attempts = dict.fromkeys(range(RANKS), 0)
        self._pace = _fork.Value("d", 1 / STEPS_PER_SECOND)
        self._traffic: Any = None

    def __enter__(self) -> Self:
        for rank in range(RANKS):
            self.start(rank)
        self.tell_driver()
        self._traffic = _begin(_send, self.devices)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for rank in list(self._ranks):
            self.end(rank)
        self._traffic.kill()
        self._traffic.join()

    @property
    def flags(self) -> list[str]:
        """For the agent."""
        return [
            f"--path.sysfs={self.sysfs}",
            f"--rings.directory={self.rings}",
            f"--state.directory={self.directory / 'state'}",
            f"--spool.directory={self.directory / 'spool'}",
        ]

    @property
    def environment(self) -> dict[str, str]:
        """For the agent."""
        return self.driver.environment

    def start(self, rank: int) -> None:
        """Let a rank train, on the GPU of its number; again after `end`, as another attempt."""
        place = {"rank": rank, "local_rank": rank, "device": f"cuda:{rank}", "gpu_uuid": device_uuid(rank)}
        header = {**RUN, **place, "attempt": self._attempts[rank]}
        self._attempts[rank] += 1
        self._ranks[rank] = _begin(_train, self.rings, header, self._pace)

    def set_pace(self, steps_per_second: float) -> None:
        """Of all ranks, from their next step on."""
        self._pace.value = 1 / steps_per_second

    def end(self, rank: int) -> None:
        """End a rank with SIGKILL, as a node would."""
        process = self._ranks.pop(rank)
        process.kill()
        process.join()

    def tell_driver(self) -> None:
        """Let the driver list the ranks that live."""
        self.driver.set(processes=[(rank, process.pid, RANK_BYTES) for rank, process in self._ranks.items()])


def _begin(work: Any, *arguments: Any) -> Any:
    """A process that runs `work`, once it said that it is ready."""
    ready = _fork.Event()
    process = _fork.Process(target=work, args=(*arguments, ready), daemon=True)
    process.start()
    if not ready.wait(60):
        raise TimeoutError(f"{work.__name__} did not start")
    return process


def _train(rings: Path, header: dict[str, Any], pace: Any, ready: Any) -> None:
    recorder = Recorder(rings, header)
    step = 0
    while True:
        step += 1
        clocks = {"step": step, "monotonic": time.monotonic(), "wall": time.time(), "loss": math.exp(-step / 1e4)}
        seconds = float(pace.value)
        # Its phases grow and shrink with it.
        values = {
            name: value * seconds * STEPS_PER_SECOND if name.endswith("_seconds") else value
            for name, value in STEP.items()
        }
        recorder.step([{**values, **clocks}.get(name, math.nan) for name in layout.STEP_FIELDS])
        ready.set()
        time.sleep(seconds)


def _send(devices: Sequence[RdmaDevice], ready: Any) -> None:
    """Let counters rise. They are written in place and only grow longer: a reader never sees half of one."""
    while True:
        for device in devices:
            for name, amount in TRAFFIC.items():
                _add(device.port / name, amount)
        ready.set()
        time.sleep(TRAFFIC_SECONDS)


def _add(path: Path, amount: int) -> None:
    # A port may have left, or come just now.
    with contextlib.suppress(FileNotFoundError, ValueError), path.open("r+b", buffering=0) as file:
        value = int(file.read()) + amount
        file.seek(0)
        file.write(f"{value}\n".encode())
