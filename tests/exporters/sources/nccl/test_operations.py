from __future__ import annotations

import json
from pathlib import Path

import pytest

from paceline_exporters.sources.nccl.operations import Operation, Unreadable, parse

FIXTURES = Path(__file__).parents[3] / "fixtures" / "nccl_inspector"
ALL_REDUCE = {
    "coll": "AllReduce",
    "coll_msg_size_bytes": 26214400,
    "coll_exec_time_us": 500,
    "coll_busbw_gbs": 91.7504,
}


def line(**changes: object) -> bytes:
    return json.dumps({"coll_perf": {**ALL_REDUCE, **changes}}).encode()


def test_an_operation() -> None:
    assert parse(line(coll_busbw_gbs=91.5)) == Operation("AllReduce", "larger", 500e-6, 26214400, 91.5e9)


@pytest.mark.parametrize(
    ("size", "label"),
    [(0, "64KiB"), (65536, "64KiB"), (65537, "1MiB"), (2**20, "1MiB"), (2**24, "16MiB"), (2**24 + 1, "larger")],
)
def test_sizes(size: int, label: str) -> None:
    found = parse(line(coll_msg_size_bytes=size))
    assert isinstance(found, Operation)
    assert found.size == label


@pytest.mark.parametrize(("version", "operations", "lost"), [("v4.0", 4, 0), ("v4.2", 6, 8), ("v4.3", 6, 8)])
def test_every_version(version: str, operations: int, lost: int) -> None:
    found = [parse(text) for text in (FIXTURES / f"{version}.log").read_bytes().splitlines()]
    assert sum(isinstance(one, Operation) for one in found) == operations
    assert sum(one for one in found if isinstance(one, int)) == lost


def test_bandwidth_that_is_no_number_is_unknown() -> None:
    for value in ("nan", None, -1.0, 1e300, True):
        found = parse(line(coll_busbw_gbs=value))
        assert isinstance(found, Operation)
        assert found.bus_bandwidth is None


def test_names_that_nobody_knows_share_one_label() -> None:
    for name in ("Invalid", 'x"} 1\n', 7, ["AllReduce"]):
        found = parse(line(coll=name))
        assert isinstance(found, Operation)
        assert found.collective == "other"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"[1]",
        b"[" * 100_000,
        b'{"coll_perf": {"coll": "AllReduce"',
        line(coll_exec_time_us=-1),
        line(coll_exec_time_us="soon"),
        line(coll_exec_time_us=1e300),
        line(coll_msg_size_bytes=10**400),
        line(coll_msg_size_bytes=None),
        b'{"coll_perf": {"coll_exec_time_us": NaN, "coll_msg_size_bytes": 1}}',
    ],
)
def test_what_is_no_operation(text: bytes) -> None:
    with pytest.raises(Unreadable):
        parse(text)


def test_losses_that_are_no_counts_are_left_out() -> None:
    stats = {"coll_dropped_since_last_dump": 5, "p2p_dropped_since_last_dump": "many"}
    assert parse(json.dumps({"dump_stats": stats}).encode()) == 5
    assert parse(b'{"dump_stats": 7}') == 0
