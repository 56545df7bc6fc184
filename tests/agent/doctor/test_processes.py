from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sysfs_trees import dgx

from paceline_agent.doctor.place import Place
from paceline_agent.doctor.processes import Hiding, examine, hiding
from paceline_agent.doctor.visit import Visit
from paceline_exporters.sources.board import Board, Seat

MOUNTS = """\
22 28 0:21 / {other} rw,nosuid shared:13 - proc proc rw
23 28 0:21 / {procfs} rw,nosuid shared:13 - proc proc rw,gid=7,hidepid={level}
"""


@pytest.fixture
def apart(host: Place) -> Place:
    """A container with a PID namespace of its own."""
    return replace(host, kind="container", host_processes=False)


def test_a_host(visit: Callable[..., Visit]) -> None:
    one = visit()
    for number in (1, 2, 3000):
        (one.world.procfs / str(number)).mkdir()
    [found] = examine(one)
    assert (found.status, found.seen) == ("ok", "all 3 of the host visible")


def test_a_container_without_gpus_needs_no_more(visit: Callable[..., Visit], apart: Place) -> None:
    [found] = examine(visit(apart))
    assert found.status == "ok"


def test_a_container_on_a_machine_with_gpus(visit: Callable[..., Visit], apart: Place) -> None:
    one = visit(apart)
    dgx(one.world.sysfs)
    [found] = examine(one)
    assert (found.status, found.fix) == ("limited", "start the container with --pid host")


def test_a_pod_whose_ranks_are_elsewhere(visit: Callable[..., Visit], apart: Place) -> None:
    one = visit(replace(apart, kind="pod"))
    board = Board(seats=(Seat("run-1", "0", None, ""), Seat("run-1", "1", 17, "")))
    [found] = examine(replace(one, world=replace(one.world, board=board)))
    assert found.seen == "0 of this container only, 1 live rank not among them"
    assert (found.status, found.fix) == ("limited", "spec: {hostPID: true}")


@pytest.mark.parametrize(
    ("level", "expected"), [("2", 2), ("invisible", 2), ("noaccess", 1), ("ptraceable", 4), ("0", 0), ("off", 0)]
)
def test_the_last_mount_counts(tmp_path: Path, level: str, expected: int) -> None:
    mounts = MOUNTS.format(other="/host/proc", procfs=tmp_path, level=level)
    assert hiding(tmp_path, mounts) == Hiding(expected, 7)


def test_a_procfs_that_is_no_mount_hides_nothing(tmp_path: Path, visit: Any) -> None:
    assert hiding(tmp_path / "proc", MOUNTS.format(other="/proc", procfs=tmp_path, level=2)) == Hiding()
