"""NCCL's lists: only what cannot fail at a collective or corrupt data."""

from __future__ import annotations

import pytest

from paceline_tuner.study.nccl import ALGO, PROTO


@pytest.mark.parametrize(
    "value",
    [
        "allreduce:ring",
        "AllReduce:Tree,Ring",
        "allreduce:tree,ring;broadcast:ring",
        "allreduce:^tree",
        "allgather:pat",
    ],
)
def test_scoped_algorithms(value: str) -> None:
    assert ALGO.complaint(value) is None


@pytest.mark.parametrize(
    "value",
    ["ring", "^tree", "tree;allreduce:ring", "allgather:tree", "broadcast:^ring", "allreduce:rings", "sum:ring",
     "allreduce:", "allreduce:ring;",
        "allreduce: ring", "", None, 1],
)  # fmt: skip
def test_algorithms_that_fail_somewhere(value: object) -> None:
    assert "scoped" in str(ALGO.complaint(value))


@pytest.mark.parametrize("value", ["^LL", "^LL128", "^LL,LL128", "allreduce:^LL128", "^LL;allreduce:^LL128"])
def test_excluded_protocols(value: str) -> None:
    assert PROTO.complaint(value) is None


@pytest.mark.parametrize(
    "value",
    ["LL128", "Simple", "allreduce:LL", "^LL;allreduce:LL128", "^LL,LL128,Simple", "^L", "^", "", "sum:^LL"],
)
def test_forced_protocols(value: str) -> None:
    assert "exclusions only" in str(PROTO.complaint(value))
