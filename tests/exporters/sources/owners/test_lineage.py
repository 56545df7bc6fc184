from __future__ import annotations

import pytest
from node_tree import NodeTree

from paceline_exporters.sources.board import Seat
from paceline_exporters.sources.owners.lineage import Lineage, Seated
from paceline_exporters.sources.owners.procs import Procs


@pytest.fixture
def procs(node: NodeTree) -> Procs:
    """A launcher (100) with two ranks (200, 300) in sessions of their own, and what belongs to them."""
    node.process(100)
    node.process(200, parent=100)
    node.process(201, parent=200, session=200, command="pt_data_worker")
    node.process(202, parent=201, session=999, command="setsid")
    node.process(300, parent=100)
    node.process(50, command="Xorg")
    node.process(400, session=400, command="bash")  # starts one rank within its session
    node.process(401, parent=400, session=400)
    return Procs(node.procfs)


def lineage(procs: Procs, **pids: int | None) -> Lineage:
    seats = [Seat("run", rank.removeprefix("r"), pid, "") for rank, pid in pids.items()]
    return Lineage(procs, [Seated(seat, None if seat.pid is None else procs.get(seat.pid)) for seat in seats])


@pytest.mark.parametrize(
    ("pid", "rank"),
    [(200, "0"), (201, "0"), (202, "0"), (300, "1"), (100, None), (50, None), (400, "2"), (401, "2")],
    ids=["itself", "worker", "of another session", "other rank", "launcher", "stranger", "its shell", "under it"],
)
def test_whose_a_process_is(procs: Procs, pid: int, rank: str | None) -> None:
    process = procs.get(pid)
    assert process is not None
    found = lineage(procs, r0=200, r1=300, r2=401, r3=None).rank_of(process)
    assert (found and found.seat.rank) == rank


def test_the_nearest_rank_counts(procs: Procs) -> None:
    process = procs.get(202)
    assert process is not None
    found = lineage(procs, r0=200, r1=201).rank_of(process)
    assert found is not None
    assert found.seat.rank == "1"


def test_a_process_above_several_ranks_is_none_of_them(procs: Procs) -> None:
    process = procs.get(400)
    assert process is not None
    assert lineage(procs, r0=400).rank_of(process) is not None
    assert lineage(procs, r0=401, r1=401).rank_of(process) is not None  # one process, whatever its rings
    node_of_two = lineage(procs, r0=200, r1=201)
    launcher = procs.get(100)
    assert launcher is not None
    assert node_of_two.rank_of(launcher) is None


def test_ranks_are_in_the_order_of_their_numbers() -> None:
    seats = [Seated(Seat(run, rank, None, ""), None) for run, rank in (("b", "0"), ("a", "10"), ("a", "9"))]
    assert [one.key for one in sorted(seats, key=lambda one: one.order)] == [("a", "9"), ("a", "10"), ("b", "0")]
