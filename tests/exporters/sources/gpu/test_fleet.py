from __future__ import annotations

import time

from paceline_exporters.sources.board import GpuProcess
from paceline_exporters.sources.gpu.fleet import STALE_SECONDS, Fleet
from paceline_exporters.sources.gpu.pace import MOST_SECONDS

TOPOLOGY = [
    "topology",
    {"driver": "580.1"},
    [{"uuid": "GPU-1", "index": 0, "pci": "0000:3b:00.0", "mig": []}],
    [],
]


def test_readings_older_than_their_groups_limit_are_dropped() -> None:
    fleet, now = Fleet(), time.monotonic()
    fleet.apply(TOPOLOGY)
    fleet.apply(["data", "fast", "GPU-1", now - STALE_SECONDS["fast"] - 1, {"power_watts": 500}])
    fleet.apply(["data", "slow", "GPU-1", now - STALE_SECONDS["fast"] - 1, {"pcie_width": 16}])
    assert not fleet.is_fresh("GPU-1")
    assert [reading.values for reading in fleet.readings("GPU-1")] == [{"pcie_width": 16}]


def test_a_slow_drivers_readings_may_be_as_much_older_as_its_rounds_take() -> None:
    fleet, now = Fleet(), time.monotonic()
    old = now - STALE_SECONDS["fast"] - 20
    fleet.apply(TOPOLOGY)
    fleet.apply(["data", "fast", "GPU-1", old, {"power_watts": 500}])
    fleet.apply(["begin", "slow", "GPU-0", old])
    assert not fleet.is_fresh("GPU-1"), "its round may hang there"
    fleet.apply(["begin", "slow", "GPU-1", old + 25])
    assert fleet.is_fresh("GPU-1")
    assert len(list(fleet.readings("GPU-1"))) == 1
    fleet.apply(["rest", now, 1.0, {}])
    assert fleet.is_fresh("GPU-1"), "and the next round will take as long"
    fleet.apply(["begin", "fast", "GPU-1", now])
    fleet.apply(["rest", now + 3, 1.0, {}])
    assert not fleet.is_fresh("GPU-1")


def test_what_a_round_may_take_is_bounded() -> None:
    fleet, now = Fleet(), time.monotonic()
    old = now - STALE_SECONDS["fast"] - MOST_SECONDS - 1
    fleet.apply(TOPOLOGY)
    fleet.apply(["data", "fast", "GPU-1", old, {"power_watts": 500}])
    fleet.apply(["begin", "slow", "GPU-0", old])
    fleet.apply(["begin", "slow", "GPU-1", now])
    assert not fleet.is_fresh("GPU-1")


def test_a_round_that_was_killed_is_over() -> None:
    fleet, now = Fleet(), time.monotonic()
    fleet.apply(TOPOLOGY)
    fleet.apply(["data", "fast", "GPU-1", now - STALE_SECONDS["fast"] - 1, {"power_watts": 500}])
    fleet.apply(["begin", "fast", "GPU-0", now - 10])
    fleet.apply(["begin", "init", "", now - 1])
    fleet.apply(["begin", "fast", "GPU-0", now])
    assert not fleet.is_fresh("GPU-1")


def test_a_gpu_without_readings_is_not_fresh() -> None:
    fleet = Fleet()
    fleet.apply(TOPOLOGY)
    assert not fleet.is_fresh("GPU-1")
    assert fleet.processes("GPU-1") is None


def test_memory_that_the_driver_does_not_say_is_unknown() -> None:
    fleet = Fleet()
    fleet.apply(["data", "processes", "GPU-1", time.monotonic(), {"processes": {"7": -1, "8": 5}}])
    assert fleet.processes("GPU-1") == [GpuProcess("GPU-1", 7, None), GpuProcess("GPU-1", 8, 5)]


def test_a_lost_gpu_and_its_instances_have_no_readings() -> None:
    fleet, now = Fleet(), time.monotonic()
    fleet.apply(["topology", {}, [{"uuid": "GPU-1", "index": 0, "pci": "", "mig": [{"uuid": "MIG-1"}]}], []])
    for uuid in ("GPU-1", "MIG-1"):
        fleet.apply(["data", "fast", uuid, now, {"memory_used_bytes": 1}])
    fleet.apply(["lost", "GPU-1", "gpu_is_lost"])
    assert [*fleet.readings("GPU-1"), *fleet.readings("MIG-1")] == []
    assert fleet.lost == {"GPU-1"}
    fleet.apply(TOPOLOGY)
    assert fleet.lost == set(), "listed again"


def test_a_driver_that_is_gone_takes_all_readings_with_it() -> None:
    fleet = Fleet()
    fleet.apply(TOPOLOGY)
    fleet.apply(["data", "fast", "GPU-1", time.monotonic(), {"power_watts": 500}])
    fleet.apply(["gone", "driver_not_loaded"])
    assert fleet.is_gone
    assert not fleet.is_fresh("GPU-1")
    assert "GPU-1" in fleet.listed, "what it is stays known"


def test_groups_of_another_version_of_the_child_are_passed_over() -> None:
    fleet = Fleet()
    fleet.apply(["data", "tomorrow", "GPU-1", time.monotonic(), {"power_watts": 500}])
    assert list(fleet.readings("GPU-1")) == []
