from __future__ import annotations

import os
from pathlib import Path

from paceline_exporters.sources.cgroups.hierarchy import Hierarchy, Membership, memberships

POD = "kubepods.slice/kubepods-pod1.slice"


def populate(group: Path, *pids: int) -> Path:
    group.mkdir(parents=True, exist_ok=True)
    (group / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
    return group


def test_memberships() -> None:
    text = "9:name=systemd:/a\n4:cpu,cpuacct:/b:c\n0::/d\n\nnonsense\n"
    assert list(memberships(text)) == [
        Membership(frozenset({"name=systemd"}), "/a"),
        Membership(frozenset({"cpu", "cpuacct"}), "/b:c"),
        Membership(frozenset(), "/d"),
    ]


def test_on_the_host(tmp_path: Path) -> None:
    populate(tmp_path / "system.slice/agent.service", os.getpid())
    rank = populate(tmp_path / "slurm/job_1/step_0")
    hierarchy = Hierarchy(tmp_path, "/system.slice/agent.service")
    assert hierarchy.groups("/slurm/job_1/step_0") == [rank, rank.parent, rank.parent.parent, tmp_path]
    assert hierarchy.groups("/slurm/gone") == []
    assert hierarchy.groups("/") == [tmp_path]


def test_in_a_container_with_the_mount_of_the_host(tmp_path: Path) -> None:
    """The kernel writes paths relative to the root of the reader's namespace, here the agent's container."""
    populate(tmp_path, 1)
    agent = populate(tmp_path / POD / "agent.scope", 77, os.getpid())
    rank = populate(tmp_path / "kubepods.slice/kubepods-pod2.slice/rank.scope", 78)
    hierarchy = Hierarchy(tmp_path, "/")
    assert hierarchy.groups("/../../kubepods-pod2.slice/rank.scope")[0] == rank
    assert hierarchy.groups("/")[0] == agent


def test_in_a_group_below_the_namespace(tmp_path: Path) -> None:
    """A container that made groups of its own, and lives in one of them."""
    agent = populate(tmp_path / POD / "agent.scope/main", os.getpid())
    hierarchy = Hierarchy(tmp_path, "/main")
    assert hierarchy.groups("/main")[0] == agent
    assert hierarchy.groups("/")[0] == agent.parent


def test_in_a_container_with_its_own_mount(tmp_path: Path) -> None:
    """What is beyond it cannot be seen, and is not looked for elsewhere."""
    container = populate(tmp_path / "cgroup", os.getpid())
    populate(tmp_path / "beyond")
    hierarchy = Hierarchy(container, "/")
    assert hierarchy.groups("/") == [container]
    assert hierarchy.groups("/../beyond") == []
