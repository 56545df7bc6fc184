"""Agents that are killed while a counter wraps: what they showed is monotone, and true in the end."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sysfs_trees import MLX5_ROCE, RdmaDevice, many_ports

FILE = "hw_counters/out_of_sequence"
AGENT = """
import sys
from pathlib import Path
from paceline_exporters.sources.contract import World
from paceline_exporters.sources.rdma import create

source = create(World(sysfs=Path(sys.argv[1]), procfs=Path(sys.argv[1]), state=Path(sys.argv[2])))
for _ in sys.stdin:
    points = {family.name: series for family, series in source.sample().points.items()}
    print(points["paceline_rdma_port_receive_out_of_sequence_total"][("mlx5_0", "1")], flush=True)
"""


class Agent:
    """A process that samples when it is asked to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def sample(self) -> int:
        """The counter as it is shown."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextmanager
def agent(sysfs: Path, state: Path) -> Iterator[Agent]:
    """An agent that is killed at the end."""
    command = [sys.executable, "-c", AGENT, str(sysfs), str(state)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Agent(process)
        process.kill()


def put(device: RdmaDevice, raw: int) -> None:
    """Write over the file in one call: a reader sees the old number or the new one."""
    descriptor = os.open(device.port / FILE, os.O_WRONLY)
    os.pwrite(descriptor, f"{raw:010d}\n".encode(), 0)
    os.close(descriptor)


def test_killed_again_and_again(tmp_path: Path) -> None:
    _, (device,) = many_ports(tmp_path / "sys", 1, MLX5_ROCE)
    true = 2**32 - 300_000_000
    device.set(FILE, f"{true:010d}")
    shown = []
    for _ in range(3):
        with agent(tmp_path / "sys", tmp_path / "state") as killed:
            for _ in range(4):
                shown.append(killed.sample())
                assert shown[-1] == true
                true += 123_456_789
                put(device, true % 2**32)
    assert true > 2**32
    assert all(before < after for before, after in itertools.pairwise(shown))
