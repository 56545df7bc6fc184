from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from paceline_exporters.attach import layout
from paceline_exporters.attach.recorder import Recorder, RecorderError
from paceline_exporters.rings import RingReader

VALUES = [float(index) for index in range(len(layout.STEP_FIELDS))]


@contextlib.contextmanager
def reading(recorder: Recorder) -> Iterator[RingReader]:
    reader = RingReader.open(recorder.path)
    try:
        yield reader
    finally:
        reader.close()


def test_a_ring_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "made" / "here", {"run_id": "r"})
    assert [path.name for path in recorder.path.parent.iterdir()] == [f"{recorder.uuid}.ring"]
    status = recorder.path.stat()
    assert (status.st_mode & 0o7777, status.st_size) == (0o640, layout.FILE_BYTES)
    assert status.st_blocks * 512 >= layout.FILE_BYTES  # no holes: a write cannot fail for want of space
    assert recorder.path.parent.stat().st_mode & 0o7777 == 0o1777


def test_an_existing_directory_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    Recorder(tmp_path, {})
    assert tmp_path.stat().st_mode & 0o7777 == 0o700


@pytest.mark.parametrize("header", [{"text": "x" * 40000}, {("a", "b"): 1}])
def test_a_header_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path, header: dict) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises((RecorderError, TypeError)) as failed:
        Recorder(tmp_path, header)
    failed.value.__traceback__ = failed.value.__context__ = None
    assert list(tmp_path.iterdir()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1  # the map's, until it is collected


def test_a_header_that_grows_too_large_leaves_out_the_largest_parts(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, {"run_id": "r"})
    recorder.update_header({"effective": {"arguments": "x" * 40000}})
    with reading(recorder) as reader:
        header = reader.header()
        assert header is not None
        assert header.data == {"run_id": "r", "left_out": ["buckets", "effective"]}
        with pytest.raises(RecorderError, match="does not fit 32496 bytes"):
            recorder.update_header({"device": "y" * 40000})
        assert reader.header() == header


@pytest.mark.parametrize("length", [0, 900, 960, 5000, 10**6])
@pytest.mark.parametrize("character", ["x", "\x00", "ü", "😀", '"'])
def test_an_events_text_is_cut_to_what_fits(tmp_path: Path, length: int, character: str) -> None:
    recorder = Recorder(tmp_path, {})
    recorder.event("exception", 3.0, {"type": "E" * 100, "message": character * length})
    with reading(recorder) as reader:
        (event,) = reader.events(0)
    assert event.kind == "exception"
    assert (character * length).startswith(event.detail["message"])
    assert bool(event.detail["message"]) == bool(length)


def test_an_events_table_keeps_its_first_entries(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, {})
    metrics = {f"eval_some_long_metric_name_{number}": number / 7 for number in range(100)}
    recorder.event("evaluation", 1.0, {"metrics": metrics})
    with reading(recorder) as reader:
        (event,) = reader.events(0)
    kept = event.detail["metrics"]
    assert 5 < len(kept) < 100
    assert list(kept.items()) == list(metrics.items())[: len(kept)]


def test_unknown_is_nan_and_stays_so(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, {})
    recorder.step([math.nan] * len(VALUES))
    with reading(recorder) as reader:
        (row,) = reader.steps(0, 1)
    assert row is not None and all(map(math.isnan, row))


def test_a_bad_value_costs_its_record_only(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, {})
    recorder.step(VALUES)
    with pytest.raises(TypeError, match="invalid type"):
        recorder.step(["text", *VALUES[1:]])  # type: ignore[list-item]
    recorder.step(VALUES)
    with reading(recorder) as reader:
        assert reader.cursors()[0] == 2
        assert reader.steps(0, 2) == [tuple(VALUES)] * 2


def test_a_directory_that_is_a_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "rings").write_text("a file")
    with pytest.raises(RecorderError, match="set PACELINE_RING_DIR to a writable directory"):
        Recorder(tmp_path / "rings", {})


def test_an_unwritable_directory_says_what_to_do() -> None:
    with pytest.raises(RecorderError, match=r"cannot make a ring in /proc/self .*: set PACELINE_RING_DIR"):
        Recorder("/proc/self", {})


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs with room for one ring."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a tmpfs")
    directory = tmp_path / "tiny"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "none", directory], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.strip()}")
    yield directory
    subprocess.run(["umount", "--lazy", directory], check=True)


def test_a_full_disk_refuses_cleanly_and_leaves_the_other_ring_whole(tiny: Path) -> None:
    first = Recorder(tiny, {"run_id": "first"})
    with pytest.raises(
        RecorderError, match=r"no space for a ring of 2\.2 MiB in .*: free some, or set PACELINE_RING_DIR"
    ):
        Recorder(tiny, {"run_id": "second"})
    assert [path.stem for path in tiny.iterdir()] == [first.uuid]
    rest = os.open(tiny / "rest", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(OSError, match="No space left"):
        while True:
            os.write(rest, b"x" * 4096)
    os.close(rest)
    for _ in range(layout.STEP_CAPACITY + 5):
        first.step(VALUES)
    with reading(first) as reader:
        assert reader.steps(10, 11) == [tuple(VALUES)]


LOOP = """
import os, sys
from paceline_exporters.attach import layout
from paceline_exporters.attach.recorder import Recorder
recorder = Recorder(sys.argv[1], {"run_id": "r"})
values = [1.0] * len(layout.STEP_FIELDS)
for _ in range(100):
    recorder.step(values)
os.write(2, b"begin\\n")
for _ in range(5000):
    recorder.step(values)
os.write(2, b"end\\n")
"""


def test_a_step_makes_no_system_call(tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed (apt-get install strace)")
    log = tmp_path / "strace.log"
    command = [strace, "-f", "-o", str(log), sys.executable, "-c", LOOP, str(tmp_path)]
    traced = subprocess.run(command, capture_output=True, text=True, check=False)
    if traced.returncode:
        pytest.skip(f"strace cannot trace here: {traced.stderr.strip()[-200:]}")
    lines = log.read_text().splitlines()
    marks = [index for index, line in enumerate(lines) if re.search(r'write\(2, "(begin|end)\\n"', line)]
    assert len(marks) == 2
    assert lines[marks[0] + 1 : marks[1]] == []


def test_a_forked_child_may_not_write(tmp_path: Path) -> None:
    script = (
        "import json, os, sys\nfrom paceline_exporters.attach import session\n"
        "os.environ['PACELINE_RING_DIR'] = sys.argv[1]\n"
        "ring = session.recorder()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    session.event('nan'); session.describe(device='child')\n"
        "    os._exit(0 if session.recorder() is None and not ring.writable else 1)\n"
        "print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), ring.writable, ring.uuid]))\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    child, writable, uuid = json.loads(told.stdout)
    assert (child, writable) == (0, True)
    assert [path.name for path in tmp_path.iterdir()] == [f"{uuid}.ring"]
    reader = RingReader.open(tmp_path / f"{uuid}.ring")
    header = reader.header()
    assert header is not None and "device" not in header.data
    assert [event.kind for event in reader.events(0)] == ["start"]
    reader.close()
