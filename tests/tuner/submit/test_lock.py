"""One submitter a directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from paceline_tuner.submit.lock import InUse, alone_in

HOLDS = """
import sys
from pathlib import Path
from paceline_tuner.submit.lock import alone_in
with alone_in(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_one_is_told_who_the_first_is(tmp_path: Path) -> None:
    with alone_in(tmp_path / "study"):
        said = f"process {os.getpid()} works on the study in {tmp_path}/study already"
        with pytest.raises(InUse, match=said), alone_in(tmp_path / "study"):
            raise AssertionError("both at once")
        with alone_in(tmp_path / "another"):
            assert (tmp_path / "another").is_dir()
    with alone_in(tmp_path / "study"):
        assert int((tmp_path / "study" / "submitter.lock").read_text()) == os.getpid()


def test_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDS, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(InUse, match=f"process {holder.pid} "), alone_in(tmp_path):
            raise AssertionError("both at once")
        holder.kill()
        holder.wait()
        with alone_in(tmp_path):
            assert (tmp_path / "submitter.lock").stat().st_mode & 0o777 == 0o640
