from __future__ import annotations

from pathlib import Path

import pytest

from paceline_agent.supervise.rings import OwnRings
from paceline_exporters.attach.recorder import Recorder


def test_only_rings_that_carry_the_token_are_ours_and_the_last_attempt_counts(rings: Path) -> None:
    for token, rank, attempt in (("t", 1, 0), ("t", 0, 0), ("t", 1, 1), ("t", 0, 1), ("other", 0, 2), ("", 0, 3)):
        Recorder(rings, {"run_id": "r", "supervisor": token, "rank": rank, "attempt": attempt})
    own = OwnRings(rings, "t")
    assert sorted((ring.attempt, ring.rank) for ring in own.find().values()) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [(ring.attempt, ring.rank) for ring in own.last_attempt()] == [(1, 0), (1, 1)]
    own.close()


@pytest.mark.parametrize(
    ("ends", "over"),
    [(["finished", "exit"], True), (["finished", None], False), (["exit", "exception"], False), ([], False)],
)
def test_a_run_is_over_when_all_its_ranks_say_so_and_none_failed(
    rings: Path, ends: list[str | None], over: bool
) -> None:
    for rank, how in enumerate(ends):
        recorder = Recorder(rings, {"run_id": "r", "supervisor": "t", "rank": rank, "attempt": 0})
        recorder.event("start")
        if how is not None:
            recorder.event("end", 7.0, {"how": how})
    own = OwnRings(rings, "t")
    assert own.finished() is over
    own.close()


def test_no_directory_holds_no_rings(tmp_path: Path) -> None:
    own = OwnRings(tmp_path / "none", "t")
    assert own.last_attempt() == []
    own.close()
