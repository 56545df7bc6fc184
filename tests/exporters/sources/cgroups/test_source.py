from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from paceline_exporters.metrics import Samples
from paceline_exporters.sources.board import Board, Seat
from paceline_exporters.sources.cgroups.remembered import MOST_RANKS, Ranks
from paceline_exporters.sources.cgroups.source import CgroupsSource
from paceline_exporters.sources.contract import World

MEBIBYTE = 1 << 20
CGROUPFS = Path("/sys/fs/cgroup")


def values(samples: Samples) -> dict[str, object]:
    return {
        " ".join((family.name.removeprefix("paceline_"), *labels)): value
        for family, points in samples.points.items()
        for labels, value in points.items()
    }


def seat(rank: int, pid: int | None) -> Seat:
    return Seat("run-1", str(rank), pid, "")


def node(root: Path, *seats: Seat) -> World:
    """A host with version 2 on which pids 10 and 11 share a container, and 12 is in no container."""
    cgroupfs = root / "sys/fs/cgroup"
    container = cgroupfs / "pod/container"
    for group, limit in ((container, "1000"), (cgroupfs / "user", "max"), (cgroupfs / "agent", "500")):
        group.mkdir(parents=True)
        (group / "cgroup.procs").write_text(f"{os.getpid()}\n" if group.name == "agent" else "")
        (group / "memory.max").write_text(f"{limit}\n")
        (group / "memory.current").write_text("400\n")
        (group / "memory.events").write_text("oom 0\noom_kill 2\n")
        (group / "cpu.max").write_text("max 100000\n")
        (group / "cpu.stat").write_text("usage_usec 1\nthrottled_usec 500000\n")
    for pid, path in (("self", "agent"), ("10", "pod/container"), ("11", "pod/container"), ("12", "user")):
        (root / "proc" / pid).mkdir(parents=True)
        (root / "proc" / pid / "cgroup").write_text(f"0::/{path}\n")
    return World(procfs=root / "proc", sysfs=root / "sys", board=Board(seats=seats))


def test_ranks_and_the_agent(tmp_path: Path) -> None:
    found = values(CgroupsSource(node(tmp_path, seat(0, 10), seat(1, 11), seat(2, 12))).sample())
    shared = {
        "cgroup_memory_limit_bytes": 1000,
        "cgroup_memory_used_bytes": 400,
        "cgroup_oom_kills_total": 2,
        "cgroup_cpu_throttled_seconds_total": 0.5,
    }
    assert found == {
        **{f"{name} run-1 {rank}": value for name, value in shared.items() for rank in (0, 1)},
        **{f"{name} run-1 2": value for name, value in shared.items() if "limit" not in name},
        **{f"agent_{name}": value for name, value in shared.items()},
        "agent_cgroup_memory_limit_bytes": 500,
    }


def test_ranks_that_cannot_be_seen_have_no_series(tmp_path: Path) -> None:
    found = values(CgroupsSource(node(tmp_path, seat(0, None), seat(1, 4242))).sample())
    assert {name for name in found if not name.startswith("agent_")} == set()


def kill_for_memory(world: World, pid: int) -> None:
    """Of a process of `node`, in the shared container."""
    shutil.rmtree(world.procfs / str(pid))
    (world.sysfs / "fs/cgroup/pod/container/memory.events").write_text("oom 1\noom_kill 3\n")


@pytest.mark.parametrize("noticed", [False, True])
def test_a_rank_that_was_killed_is_counted_for(tmp_path: Path, noticed: bool) -> None:
    """Also before the steps source notices its end."""
    world = node(tmp_path, seat(0, 10), seat(1, 11), seat(2, 12))
    source = CgroupsSource(world)
    source.sample()
    kill_for_memory(world, 10)
    if noticed:
        world.board.seats = (seat(1, 11), seat(2, 12))
    found = values(source.sample())
    kills = {name: value for name, value in found.items() if name.startswith("cgroup_oom_kills_total")}
    assert kills == {f"cgroup_oom_kills_total run-1 {rank}": count for rank, count in ((0, 3), (1, 3), (2, 2))}
    assert "cgroup_memory_used_bytes run-1 0" not in found, "nobody's any more"
    assert "cgroup_memory_used_bytes run-1 1" in found


def test_a_group_that_went_with_its_rank_keeps_its_count_for_a_while(tmp_path: Path) -> None:
    world = node(tmp_path, seat(2, 12))
    lasting, brief = CgroupsSource(world), CgroupsSource(world, keep_ended_seconds=0.0)
    for source in (lasting, brief):
        source.sample()
    shutil.rmtree(world.procfs / "12")
    shutil.rmtree(world.sysfs / "fs/cgroup/user")
    world.board.seats = ()
    assert values(lasting.sample())["cgroup_oom_kills_total run-1 2"] == 2
    assert "cgroup_oom_kills_total run-1 2" not in values(brief.sample())


def test_a_rank_that_moved_counts_what_its_new_group_counted(tmp_path: Path) -> None:
    world = node(tmp_path, seat(0, 10))
    source = CgroupsSource(world)
    source.sample()
    world.board.seats = (seat(0, 12),)  # begun anew by its launcher
    (world.sysfs / "fs/cgroup/user/memory.events").write_text("oom_kill 0\n")
    assert values(source.sample())["cgroup_oom_kills_total run-1 0"] == 0


def test_ranks_that_are_remembered_are_bounded() -> None:
    ranks = Ranks(keep_seconds=300.0)
    for number in range(2 * MOST_RANKS):
        ranks.see(("run-1", str(number)), "0::/", float(number) / MOST_RANKS)
    kept = [key for key, _ in ranks.known(2.0)]
    assert len(kept) == MOST_RANKS
    assert kept[-1] == ("run-1", str(2 * MOST_RANKS - 1)), "the latest"


def test_nothing_there_is_no_failure(tmp_path: Path) -> None:
    world = World(procfs=tmp_path, sysfs=tmp_path)
    world.board.seats = (seat(0, 1),)
    samples = CgroupsSource(world).sample()
    assert samples.points == {}
    assert samples.problem is None


def made(controller: str) -> Path:
    """A fresh group of this machine's, in whichever version has the controller."""
    version_1 = CGROUPFS / controller
    if (version_1 / "cgroup.procs").exists():
        group = version_1 / f"paceline-{uuid.uuid4()}"
    elif controller in _text(CGROUPFS / "cgroup.subtree_control"):
        group = CGROUPFS / f"paceline-{uuid.uuid4()}"
    else:
        pytest.skip(f"no {controller} controller for the groups of this machine")
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"{error}: run as root, where control groups can be made")
    return group


def limit_memory(group: Path, limit: int) -> None:
    """Memory, and swap where there is any."""
    for name, value in (
        ("memory.max", limit),
        ("memory.swap.max", 0),
        ("memory.limit_in_bytes", limit),
        ("memory.memsw.limit_in_bytes", limit),
    ):
        if (group / name).exists():
            (group / name).write_text(str(value))


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as started:
        yield started
        started.kill()


def test_memory_of_a_real_group(process: subprocess.Popen[bytes]) -> None:
    group = made("memory")
    try:
        limit_memory(group, 64 * MEBIBYTE)
        (group / "cgroup.procs").write_text(str(process.pid))
        found = values(CgroupsSource(World(board=Board(seats=(seat(3, process.pid),)))).sample())
        assert found["cgroup_memory_limit_bytes run-1 3"] == 64 * MEBIBYTE
        assert found["cgroup_oom_kills_total run-1 3"] == 0
        assert "agent_cgroup_oom_kills_total" in found
    finally:
        process.kill()
        process.wait()
        group.rmdir()


def test_an_oom_kill_in_a_real_group() -> None:
    group = made("memory")
    try:
        limit_memory(group, 64 * MEBIBYTE)
        greedy = f"open('{group}/cgroup.procs', 'w').write('0'); b'x' * (512 << 20)"
        assert subprocess.run([sys.executable, "-S", "-c", greedy]).returncode == -signal.SIGKILL
        with subprocess.Popen(["sleep", "600"]) as rank:
            (group / "cgroup.procs").write_text(str(rank.pid))
            found = values(CgroupsSource(World(board=Board(seats=(seat(0, rank.pid),)))).sample())
            rank.kill()
        assert found["cgroup_oom_kills_total run-1 0"] == 1
    finally:
        group.rmdir()


def test_cpu_of_a_real_group(process: subprocess.Popen[bytes]) -> None:
    group = made("cpu")
    try:
        if (group / "cpu.max").exists():
            (group / "cpu.max").write_text("50000 100000")
        elif (group / "cpu.cfs_quota_us").exists():
            (group / "cpu.cfs_period_us").write_text("100000")
            (group / "cpu.cfs_quota_us").write_text("50000")
        else:
            pytest.skip("this kernel has no CPU bandwidth control")
        (group / "cgroup.procs").write_text(str(process.pid))
        found = values(CgroupsSource(World(board=Board(seats=(seat(0, process.pid),)))).sample())
        assert found["cgroup_cpu_limit run-1 0"] == 0.5
        assert found["cgroup_cpu_throttled_seconds_total run-1 0"] == 0
    finally:
        process.kill()
        process.wait()
        group.rmdir()
