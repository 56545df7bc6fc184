"""A gpu source on a driver of the test's own, in a world of the test's own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nvml_stub import Driver

from paceline_exporters.metrics import Labels, Samples, Value
from paceline_exporters.sources.contract import World
from paceline_exporters.sources.gpu import source as module
from paceline_exporters.sources.gpu.process import Kill
from paceline_exporters.sources.gpu.source import GpuSource

PATIENCE_SECONDS = 90.0
STALL_SECONDS, RECOVERY_SECONDS = 1.0, 15.0
"""Where a look comes so much later than it should, the machine stood still, and the child with it: for so long
after that readings may be too old."""


class Watched:
    """A source, and what it last served."""

    def __init__(self, source: GpuSource) -> None:
        self.source = source
        self.samples = source.sample()
        self._stalled_at = -math.inf

    def until(self, what: Callable[[], object]) -> None:
        """Sample as the agent does, only faster, until it is so."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not what():
            assert time.monotonic() < end, f"never came: {self.by_family('paceline_gpu_down_info')}"
            began = time.monotonic()
            time.sleep(0.05)
            self.samples = self.source.sample()
            if time.monotonic() - began > STALL_SECONDS:
                self._stalled_at = time.monotonic()

    @property
    def is_steady(self) -> bool:
        """Whether readings are as old as the child makes them: the machine did not stand still lately."""
        return time.monotonic() - self._stalled_at > RECOVERY_SECONDS

    def by_family(self, name: str) -> dict[Labels, Value]:
        """The series of one family, by label values."""
        return by_family(self.samples, name)

    def of(self, name: str) -> list[Value]:
        """The values of a family with the single label `uuid`, in the order of the GPUs' indices."""
        points = self.by_family(f"paceline_gpu_{name}")
        return [points.get((uuid,)) for uuid in self.uuids]

    @property
    def uuids(self) -> list[str]:
        """Of the GPUs known, by index."""
        rows = self.by_family("paceline_gpu_info")
        return [labels[0] for labels in sorted(rows, key=lambda labels: int(labels[1]))]

    @property
    def down(self) -> dict[str, str]:
        """Reason by UUID."""
        return {labels[0]: labels[1] for labels in self.by_family("paceline_gpu_down_info")}

    def counted(self, name: str, label: str) -> Value:
        """A counter of the keeper."""
        return self.by_family(f"paceline_nvml_{name}_total")[(label,)]

    @property
    def child_pid(self) -> int:
        """Of the child at work."""
        child = self.source.keeper.child
        assert child is not None
        return child.process.pid


Watch = Callable[..., Watched]


def by_family(samples: Samples, name: str) -> dict[Labels, Value]:
    """The series of one family, by label values."""
    return next((dict(points) for family, points in samples.points.items() if family.name == name), {})


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A booted node without devices."""
    procfs, sysfs = tmp_path / "proc", tmp_path / "sys"
    (procfs / "sys/kernel/random").mkdir(parents=True)
    (procfs / "sys/kernel/random/boot_id").write_text("boot-1\n")
    sysfs.mkdir()
    return World(procfs=procfs, sysfs=sysfs, rootfs=tmp_path, state=tmp_path / "state")


@pytest.fixture
def watch(world: World, driver: Driver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Starts sources, as `watch()`; they end with the test, whatever the driver does by then.

    The first sample waits for the child's first round also where that is slow to come.
    """
    monkeypatch.setattr(module, "SETTLE_SECONDS", PATIENCE_SECONDS)
    started: list[GpuSource] = []

    def start(kill: Kill | None = None, use: Driver = driver) -> Watched:
        for name, value in use.environment.items():
            monkeypatch.setenv(name, value)
        source = GpuSource(world) if kill is None else GpuSource(world, kill)
        started.append(source)
        return Watched(source)

    yield start
    for source in started:
        source.close()
