from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from paceline_exporters.sources.board import Board, Seat
from paceline_exporters.sources.contract import World
from paceline_exporters.sources.nccl import NcclSource
from paceline_exporters.sources.nccl import source as module
from paceline_exporters.sources.nccl.output import LOOK_BYTES

FIXTURES = Path(__file__).parents[3] / "fixtures" / "nccl_inspector"
JOB = """
import os, socket, sys
directory = os.environ.get("NCCL_INSPECTOR_DUMP_DIR", "nccl-inspector-unknown-jobid")
os.makedirs(directory, exist_ok=True)
output = open(f"{directory}/{socket.gethostname()}-pid{os.getpid()}.log", "wb")
print(output.name, flush=True)
sys.stdin.read()
"""


class Job:
    """A process that holds its output open as Inspector does; it is a real one, and so is its procfs."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", JOB],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=directory,
            env={"PATH": os.environ["PATH"], **environment},
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        self.path = directory / self._process.stdout.readline().decode().strip()

    def write(self, text: bytes) -> None:
        """Append to its file: whole lines, or the beginning of one."""
        with self.path.open("ab") as file:
            file.write(text)

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


Start = Callable[..., Job]


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Start]:
    started: list[Job] = []

    def start(**environment: str) -> Job:
        started.append(Job(tmp_path, **environment))
        return started[-1]

    yield start
    for one in started:
        one.end()


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def source(board: Board) -> Iterator[NcclSource]:
    made = NcclSource(World(board=board))
    yield made
    made.close()


def seats(*jobs: Job, gpu: str = "") -> tuple[Seat, ...]:
    return tuple(Seat("run-1", str(rank), one.pid, gpu) for rank, one in enumerate(jobs))


def seen(source: NcclSource) -> dict[str, float]:
    return {
        " ".join((family.name.removeprefix("paceline_nccl_"), *labels)): value
        for family, points in source.sample().points.items()
        for labels, value in points.items()
        if isinstance(value, int | float)
    }


def operation(size: int = 4096, microseconds: int = 100, **more: object) -> bytes:
    body = {"coll": "AllReduce", "coll_msg_size_bytes": size, "coll_exec_time_us": microseconds, **more}
    return json.dumps({"coll_perf": body}).encode() + b"\n"


ON = {"NCCL_INSPECTOR_ENABLE": "1"}


@pytest.mark.parametrize("version", ["v4.2", "v4.3"])
def test_collectives_of_a_rank(job: Start, board: Board, source: NcclSource, version: str) -> None:
    one = job(**ON, NCCL_INSPECTOR_DUMP_DIR="dumps")
    board.seats = seats(one)
    one.write((FIXTURES / f"{version}.log").read_bytes())
    found = seen(source)
    assert found["collectives_total run-1 0 AllReduce larger"] == 2
    assert found["collective_seconds_total run-1 0 AllReduce larger"] == pytest.approx(800e-6)
    assert found["collective_bytes_total run-1 0 AllReduce larger"] == 2 * 26214400
    assert found["collectives_total run-1 0 AllReduce 64KiB"] == 1
    assert found["collectives_total run-1 0 AllGather 1MiB"] == 1
    assert found["collectives_total run-1 0 Send 16MiB"] == found["collectives_total run-1 0 Recv 16MiB"] == 1
    weighted = (91.7504 * 500 + 152.917333 * 300 + 0.7168 * 20) / 820
    assert found["bus_bandwidth_bytes_per_second run-1 0 AllReduce"] == pytest.approx(weighted * 1e9)
    assert found["operations_lost_total run-1 0 overwritten"] == 8
    assert found["operations_lost_total run-1 0 skipped"] == 0
    assert found["operations_lost_total run-1 0 unreadable"] == 0


def test_a_file_is_read_as_it_grows(job: Start, board: Board, source: NcclSource) -> None:
    one = job(**ON)
    board.seats = seats(one)
    count = "collectives_total run-1 0 AllReduce 64KiB"
    assert count not in seen(source)
    one.write(operation() + operation()[:30])
    assert seen(source)[count] == 1
    one.write(operation()[30:] + b"no operation\n")
    found = seen(source)
    assert (found[count], found["operations_lost_total run-1 0 unreadable"]) == (2, 1)
    assert seen(source) == found
    one.path.write_bytes(operation())
    assert seen(source)[count] == 3, "begun anew"


def test_a_rank_whose_gpu_becomes_known_is_the_same(job: Start, board: Board, source: NcclSource) -> None:
    one = job(**ON)
    board.seats = seats(one)
    one.write(operation())
    assert seen(source)["collectives_total run-1 0 AllReduce 64KiB"] == 1
    board.seats = seats(one, gpu="GPU-1")
    assert seen(source)["collectives_total run-1 0 AllReduce 64KiB"] == 1


def test_what_was_written_before_anyone_looked_is_not_made_up_for(
    job: Start, board: Board, source: NcclSource
) -> None:
    one = job(**ON)
    board.seats = seats(one)
    text = operation()
    one.write(text * (3 * LOOK_BYTES // len(text)))
    found = seen(source)
    assert 0 < found["collectives_total run-1 0 AllReduce 64KiB"] <= LOOK_BYTES / len(text)
    assert found["operations_lost_total run-1 0 skipped"] == 0


def test_a_file_that_grows_too_fast_is_skipped_and_counted(job: Start, board: Board, source: NcclSource) -> None:
    one = job(**ON)
    board.seats = seats(one)
    seen(source)
    text = operation()
    written = 3 * LOOK_BYTES // len(text)
    one.write(text * written)
    found = seen(source)
    taken = found["collectives_total run-1 0 AllReduce 64KiB"]
    skipped = found["operations_lost_total run-1 0 skipped"]
    assert taken + skipped == written
    assert LOOK_BYTES / len(text) - 2 <= taken <= LOOK_BYTES / len(text)
    assert found["operations_lost_total run-1 0 unreadable"] == 0


def test_an_endless_line_is_not_kept(job: Start, board: Board, source: NcclSource) -> None:
    one = job(**ON)
    board.seats = seats(one)
    seen(source)
    one.write(b"x" * (2 * LOOK_BYTES))
    assert seen(source)["operations_lost_total run-1 0 unreadable"] == 0
    one.write(b"x\n" + operation())
    assert seen(source)["collectives_total run-1 0 AllReduce 64KiB"] == 1


@pytest.mark.parametrize("environment", [{}, {"NCCL_INSPECTOR_ENABLE": "0"}, {"NO_NCCL_INSPECTOR_ENABLE": "1"}])
def test_a_job_that_has_it_off(job: Start, board: Board, source: NcclSource, environment: dict[str, str]) -> None:
    one = job(**environment)
    board.seats = seats(one)
    one.write(operation())
    assert seen(source) == {}


def test_ranks_that_share_a_directory_are_told_apart(job: Start, board: Board, source: NcclSource) -> None:
    jobs = [job(**ON), job(**ON)]
    board.seats = seats(*jobs)
    jobs[0].write(operation())
    jobs[1].write(operation() * 2)
    found = seen(source)
    assert [found[f"collectives_total run-1 {rank} AllReduce 64KiB"] for rank in (0, 1)] == [1, 2]


def test_a_rank_that_ended_is_read_to_its_end_and_stays_for_a_while(
    job: Start, board: Board, source: NcclSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = job(**ON)
    board.seats = seats(one)
    seen(source)
    one.write(operation())
    one.end()
    board.seats = seats()
    found = seen(source)
    assert found["collectives_total run-1 0 AllReduce 64KiB"] == 1
    assert seen(source) == found
    monkeypatch.setattr(module, "KEEP_SECONDS", 0.0)
    assert seen(source) == {}


def test_a_restarted_rank_goes_on(job: Start, board: Board, source: NcclSource) -> None:
    for expected in (1, 2):
        one = job(**ON)
        board.seats = seats(one)
        one.write(operation())
        assert seen(source)["collectives_total run-1 0 AllReduce 64KiB"] == expected
        one.end()


def test_processes_that_cannot_be_seen(board: Board, source: NcclSource, tmp_path: Path) -> None:
    board.seats = (Seat("run-1", "0", None, ""), Seat("run-1", "1", 2**22 + 1, ""))
    assert seen(source) == {}
    hidden = NcclSource(World(procfs=tmp_path, board=Board(seats=(Seat("run-1", "0", 1, ""),))))
    assert seen(hidden) == {}


def test_a_fifo_of_that_name_hangs_nobody(tmp_path: Path) -> None:
    fifo = tmp_path / "host-pid1.log"
    os.mkfifo(fifo)
    process = tmp_path / "proc" / "1"
    (process / "fd").mkdir(parents=True)
    (process / "environ").write_bytes(b"A=b\0NCCL_INSPECTOR_ENABLE=1\0")
    (process / "fd" / "7").symlink_to(fifo)
    watched = NcclSource(World(procfs=tmp_path / "proc", board=Board(seats=(Seat("run-1", "0", 1, ""),))))
    assert seen(watched) == {}
