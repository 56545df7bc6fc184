"""A study directory's own tuner, and the one that was left over."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from paceline_tuner.client import TunerAway, TunerClient
from paceline_tuner.submit.private import PrivateTuner, end_leftover, private_tuner, running_url


def owner(root: Path) -> int:
    return int((root / "tuner.sqlite.lock").read_text())


def test_it_is_kept_alive_on_its_port_and_ends_with_the_block(tmp_path: Path, until: Any) -> None:
    with private_tuner(tmp_path) as tuner:
        url, first = tuner.url, owner(tmp_path)
        assert TunerClient(url).ready() or until(TunerClient(url).ready)
        assert running_url(tmp_path) == url
        tuner.keep()
        assert owner(tmp_path) == first, "one that lives is left alone"
        os.kill(first, signal.SIGKILL)
        until(lambda: (tuner.keep(), owner(tmp_path) != first)[1], "a new one")
        assert tuner.url == url
        second = owner(tmp_path)
    assert running_url(tmp_path) == ""
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)


def test_one_that_was_left_over_is_ended_and_its_port_taken_over(tmp_path: Path) -> None:
    left = PrivateTuner(tmp_path)
    left.start()
    with private_tuner(tmp_path / "other") as other:
        end_leftover(tmp_path / "nothing")
        end_leftover(tmp_path)
        assert TunerClient(other.url).study_brief and owner(tmp_path / "other")
        os.kill(owner(tmp_path / "other"), 0)
    assert running_url(tmp_path) == ""
    with private_tuner(tmp_path) as tuner:
        assert tuner.url == left.url
    left.stop()


def test_a_port_that_somebody_took_meanwhile_is_no_matter(tmp_path: Path) -> None:
    with private_tuner(tmp_path / "a") as tuner:
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "tuner.url").write_text(tuner.url)
        with private_tuner(tmp_path / "b") as another:
            assert another.url != tuner.url


def test_a_process_that_only_has_the_number_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "tuner.sqlite.lock").write_text(str(os.getpid()))
    assert running_url(tmp_path) == ""
    end_leftover(tmp_path)


def test_what_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "tuner.sqlite").write_text("this is no database" * 100)
    with pytest.raises(TunerAway, match=r"the tuner did not start: .*not a database"):
        PrivateTuner(tmp_path).start()
