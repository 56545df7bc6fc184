from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from paceline_agent.doctor.directories import examine, existing, obstacle
from paceline_agent.doctor.visit import Visit


def test_a_state_directory_that_would_be_made(visit: Callable[..., Visit], tmp_path: Path) -> None:
    state, spool = examine(visit())
    assert (state.subject, state.status) == ("state", "ok")
    assert (spool.subject, spool.status) == ("spool", "absent")
    assert not (tmp_path / "state").exists(), "nothing is changed"


def test_the_spool_counts_where_there_is_a_tuner(visit: Callable[..., Visit], tmp_path: Path) -> None:
    (tmp_path / "spool").touch()
    _, spool = examine(visit(tuner_url="http://tuner:19471"))
    assert (spool.status, spool.why) == (
        "limited",
        f"{tmp_path}/spool is not a directory: the agent does not start",
    )
    assert "--spool.directory" in spool.fix


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_of_another_user() -> None:
    assert "permission denied at /" in obstacle(Path("/paceline/state"))


def test_the_nearest_that_is_there(tmp_path: Path) -> None:
    assert existing(tmp_path / "a" / "b") == tmp_path
