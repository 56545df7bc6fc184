"""One frame in consoles of all sizes."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from paceline_agent.diagnosis.asking import Steps
from paceline_agent.top.frame import COLUMNS, Frame, fitting, scaled, seconds
from paceline_agent.top.scrape import Devices, Gpu
from paceline_agent.top.watch import Answer, Cluster
from paceline_exporters.diagnosis.hang import Progress
from paceline_exporters.messages import Event, RingReport, Window

URL = "http://node-1:19470"


def reports(ranks: int, node: str = "node-1", run_id: str = "run-1", alive: bool = True) -> list[RingReport]:
    rings = []
    for rank in range(ranks):
        columns = {
            "step": [float(step) for step in range(1, 41)],
            "step_seconds": [0.5] * 40,
            "tokens": [4000.0] * 40,
            "data_wait_seconds": [0.25 if rank == 9 else 0.05] * 40,
            "forward_seconds": [0.1] * 40,
            "backward_seconds": [0.15 if rank == 9 else 0.35] * 40,
            "backward_compute_seconds": [0.15 if rank == 9 else 0.30] * 40,
        }
        window = Window(0, 39, columns, {"gpu_throttled_ratio": 0.25})
        rings.append(RingReport(f"{run_id}/{rank}", run_id, rank, ranks, 0, node, alive, 1, window=window))
    return rings


def cluster(ranks: int = 16, node: str = "node-1") -> Cluster:
    rings = reports(ranks, node)
    gpus = {f"GPU-{rank}": Gpu(0.97, 640.0, 61.0, 60e9, 80e9) for rank in range(ranks)}
    of_rank = {("run-1", rank): f"GPU-{rank}" for rank in range(ranks)}
    found = Cluster([URL])
    for at, received in ((1.0, 0.0), (2.0, 12.3e9)):
        devices = Devices(at, gpus, of_rank, rdma=True, received=received, sent=received / 2)
        found.take([Answer(URL, "", node, {"run-1": Steps(rings, {})}, frozenset({"run-1"}), devices)])
    return found


def runs(**steps: Steps) -> Cluster:
    """Of one agent."""
    found = Cluster([URL])
    found.take([Answer(URL, "", "node-1", steps, frozenset(steps), Devices(1.0))])
    return found


def drawn(what: Cluster, width: int, height: int | None = None, encoding: str = "utf-8") -> list[str]:
    buffer = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    console = Console(file=buffer, width=width, height=height or 100, color_system=None)
    options = console.options if height is None else console.options.update_dimensions(width, height)
    console.print(
        *("".join(segment.text for segment in line) for line in console.render_lines(Frame(what), options)),
        sep="\n",
    )
    buffer.seek(0)
    return buffer.read().splitlines()


@pytest.mark.parametrize("joint", [": ", " "])
def test_an_agent_that_is_away_has_its_address_once(joint: str) -> None:
    found = Cluster([URL])
    found.take([Answer(URL, f"{URL}{joint}asks for a password")])
    assert drawn(found, 100)[-1].rstrip() == f"{URL}  away: asks for a password"


def test_all_there_is_in_a_wide_terminal() -> None:
    rows = drawn(cluster(2), 160)
    assert rows[1].rstrip() == "run-1  2 of 2 ranks"
    assert rows[3].split() == [column.title for column in COLUMNS]
    assert rows[4].split() == [
        *(
            "0",
            "node-1",
            "40",
            "500.0ms",
            "ddffffbbbbbbbbbbbbbb",
            "10%",
            "8k",
            "97%",
            "640W",
            "61C",
            "75%",
            "25%",
        ),
    ]
    assert rows[6].rstrip() == "node-1  2 GPUs, RDMA in 12.3GB/s out 6.15GB/s"


@pytest.mark.parametrize("width", [1, 5, 20, 40, 60, 80, 100, 120, 200])
@pytest.mark.parametrize("height", [1, 3, 8, 24, 60])
def test_no_frame_is_larger_than_its_terminal(width: int, height: int) -> None:
    rows = drawn(cluster(), width, height)
    assert len(rows) == height
    assert max(map(len, rows)) <= width


def test_what_matters_stays_longest() -> None:
    assert [column.title for column in fitting(24)] == ["RANK", "STEP", "SLOW"]
    assert len(fitting(1)) == 1
    assert list(fitting(1000)) == list(COLUMNS)


def test_the_one_who_holds_up_the_others_is_never_hidden() -> None:
    rows = drawn(cluster(), 100, 9)
    assert any(row.startswith("   !9 ") for row in rows)
    assert any(row.strip() == "and 13 more ranks" for row in rows)


def ended(name: str, wall: float) -> Steps:
    """A run that ended at that time."""
    told = Event(1, "end", wall, 40.0, {"how": "finished"})
    return Steps([replace(one, events=(told,)) for one in reports(16, run_id=name, alive=False)], {})


def test_runs_that_ended_take_the_lines_that_are_left_the_latest_first() -> None:
    what = runs(
        **{name: ended(name, wall) for name, wall in (("a", 10.0), ("b", 30.0), ("d", 20.0))},
        c=Steps(reports(16, run_id="c"), {}),
    )
    rows = [row.rstrip() for row in drawn(what, 80, 23)]
    assert rows[0].startswith("paceline top: 1 node, 4 runs")
    assert rows[1] == "c  16 of 16 ranks"
    assert rows[3].split()[0] == "RANK"
    assert [row.split()[0].lstrip("!") for row in rows[4:20]] == [str(rank) for rank in range(16)]
    assert rows[20].startswith("b  ended, straggler: ")
    assert rows[21] == "and 2 more ended runs"
    assert rows[22].split()[0] == "node-1"
    rows = [row.rstrip() for row in drawn(what, 80, 24)]
    assert [row.split(":")[0] for row in rows[20:23]] == [f"{name}  ended, straggler" for name in ("b", "d", "a")]


def test_ranks_of_a_run_that_lives_come_before_runs_that_ended() -> None:
    what = runs(a=ended("a", 10.0), b=ended("b", 30.0), c=Steps(reports(16, run_id="c"), {}))
    rows = [row.rstrip() for row in drawn(what, 80, 14)]
    assert [row.split()[0] for row in rows[4:11]] == ["0", "1", "2", "3", "4", "5", "!9"]
    assert rows[11:13] == ["  and 9 more ranks", "and 2 ended runs"]
    assert rows[13].split()[0] == "node-1"


def test_what_a_small_run_needs_not_is_for_a_large_one() -> None:
    what = runs(a=Steps(reports(16, run_id="a"), {}), b=Steps(reports(2, run_id="b"), {}))
    rows = [row.rstrip() for row in drawn(what, 80, 26)]
    assert not [row for row in rows if "more rank" in row]
    assert rows[20] == "b  2 of 2 ranks"


def test_a_run_that_ended_is_the_first_to_be_shown_of_those_that_did() -> None:
    what = runs(a=Steps(reports(2, run_id="a"), {}), b=ended("b", 9.0))
    dead = Steps(reports(2, run_id="a", alive=False), {})
    what.take([Answer(URL, "", "node-1", {"a": dead}, frozenset("ab"), Devices(2.0))])
    rows = [row.rstrip() for row in drawn(what, 80)]
    assert [row.split()[0] for row in rows[1:3]] == ["a", "b"]


@pytest.mark.parametrize("height", [6, 7, 8])
def test_the_last_line_is_that_of_the_one_who_holds_up_the_others(height: int) -> None:
    what = runs(run=Steps(reports(16, run_id="run"), {}), old=Steps(reports(2, run_id="old", alive=False), {}))
    rows = [row.rstrip() for row in drawn(what, 80, height)]
    assert [row for row in rows if row.startswith("   !9 ")]
    assert rows[-1].split()[0] == "node-1"


@pytest.mark.parametrize("age", [None, 93.0])
def test_a_rank_that_stands_still_is_marked_and_shows_for_how_long(age: float | None) -> None:
    places = {rank: Progress(40, "backward", 90.0, age) for rank in range(16)}
    places[5] = Progress(40, "data_wait", 91.0, age)
    rows = [row.split() for row in drawn(runs(run=Steps(reports(16, run_id="run"), places)), 160)]
    (stuck,) = (row for row in rows if row[0] == "!5")
    assert (stuck[3], stuck[-1]) == (seconds(age or 91.0), "hung")
    (other,) = (row for row in rows if row[0] == "6")
    assert other[3] == seconds(age or 90.0)


def test_a_rank_that_was_killed_is_marked() -> None:
    rings = reports(3, run_id="run")
    end = Event(1, "end", 1.0, 40.0, {"how": "finished"})
    rings[0], rings[1] = replace(rings[0], alive=False), replace(rings[1], alive=False, events=(end,))
    rows = [row.split() for row in drawn(runs(run=Steps(rings, {2: Progress(40, "forward", 1.0, 1.0)})), 160)]
    assert [(row[0], row[-1]) for row in rows[4:6]] == [("!0", "lost"), ("1", "ended")]
    assert "Rank 0 on node-1 ended without a word at step 40 (killed?)." in " ".join(rows[2])


def test_what_failed_is_told_as_that() -> None:
    told = (
        Event(1, "exception", 1.0, 40.0, {"type": "ValueError"}),
        Event(2, "end", 1.0, 40.0, {"how": "exception"}),
    )
    rings = reports(2, run_id="run")
    rings[1] = replace(rings[1], alive=False, events=told)
    rows = [row.split() for row in drawn(runs(run=Steps(rings, {0: Progress(40, "forward", 1.0, 1.0)})), 160)]
    assert (rows[5][0], rows[5][-1]) == ("!1", "failed")
    rings[0] = replace(rings[0], alive=False)
    rows = drawn(runs(run=Steps(rings, {})), 160)
    assert rows[1].startswith("run  failed, ")
    assert ": Rank 1 on node-1 failed at step 40 (ValueError). Rank 0 on node-1 ended without" in rows[1]


def test_names_cannot_write_to_the_terminal() -> None:
    assert not any("\x1b" in row for row in drawn(cluster(2, "a\x1b[2Jb"), 160))


def test_a_terminal_that_knows_only_ascii_gets_ascii() -> None:
    assert drawn(cluster(), 50, 24, "ascii")


def test_numbers_are_short() -> None:
    assert [scaled(value) for value in (None, 0.0, 999.0, 38123.0, 1.2e12, 5e15)] == [
        *("-", "0", "999", "38.1k", "1.2T", "5e+03T"),
    ]
    assert [seconds(value) for value in (None, 0.0123, 1.5, 120.0)] == ["-", "12.3ms", "1.50s", "120.00s"]
