from __future__ import annotations

import json
import math
import os
import random
import signal
import stat
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paceline_exporters.attach import layout
from paceline_exporters.attach.recorder import Recorder
from paceline_exporters.rings import RingDirectory, RingError, RingReader

SUPPRESSED = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
ROWS = 5
EVENTS = 3


def row(number: int) -> list[float]:
    """A row whose every field says which record it belongs to."""
    return [number + index / 100 for index in range(len(layout.STEP_FIELDS))]


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    made = Recorder(tmp_path / "rings", {"run_id": "r", "rank": 0})
    for number in range(ROWS):
        made.step(row(number))
    for number in range(EVENTS):
        made.event("checkpoint", float(number), {"number": number})
    return made


@pytest.fixture
def reader(recorder: Recorder) -> Iterator[RingReader]:
    opened = RingReader.open(recorder.path)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ring's file that no one writes any more."""
    made = Recorder(tmp_path_factory.mktemp("pristine"), {"run_id": "r", "rank": 0})
    made.update_header({"device": "cpu"})
    for number in range(ROWS):
        made.step(row(number))
    for number in range(EVENTS):
        made.event("checkpoint", float(number), {"number": number})
    return made.path


MEANINGFUL = (
    *range(layout.PREFIX.size),
    *range(layout.CURSOR_OFFSET, layout.CURSOR_OFFSET + layout.CURSOR.size),
    *(base + index for base in layout.SLOT_OFFSETS for index in range(120)),
    *range(layout.STEPS_OFFSET, layout.STEPS_OFFSET + ROWS * layout.STEP_BYTES),
    *range(layout.EVENTS_OFFSET, layout.EVENTS_OFFSET + EVENTS * layout.EVENT_BYTES),
)


def read_all(path: Path) -> None:
    """Take everything a reader can take; whatever it gives must be what was written."""
    try:
        opened = RingReader.open(path)
    except RingError:
        return
    try:
        header = opened.header()
        assert header is None or header.data["run_id"] == "r"
        for number, values in enumerate(opened.steps(0, ROWS)):
            assert values is None or list(values) == row(number)
        for event in opened.events(0):
            assert (event.kind, event.step, event.detail) == (
                "checkpoint",
                float(event.number),
                {"number": event.number},
            )
        stop = opened.cursors()[0]
        opened.steps(max(0, stop - layout.STEP_CAPACITY), stop)
        assert math.isfinite(opened.last_sign())
        assert opened.alive() is False
    finally:
        opened.close()


@settings(max_examples=250, suppress_health_check=SUPPRESSED)
@given(
    offset=st.one_of(st.sampled_from(MEANINGFUL), st.integers(0, layout.FILE_BYTES - 1)), mask=st.integers(1, 255)
)
def test_a_flipped_byte_never_raises_and_never_yields_a_wrong_row(pristine: Path, offset: int, mask: int) -> None:
    with pristine.open("r+b") as file:
        file.seek(offset)
        before = file.read(1)
        file.seek(offset)
        file.write(bytes([before[0] ^ mask]))
        file.flush()
        try:
            read_all(pristine)
        finally:
            file.seek(offset)
            file.write(before)


@settings(max_examples=60, suppress_health_check=SUPPRESSED)
@given(start=st.integers(0, layout.FILE_BYTES - 1), noise=st.binary(min_size=1, max_size=4096))
def test_noise_anywhere_is_survived(pristine: Path, start: int, noise: bytes) -> None:
    noise = noise[: layout.FILE_BYTES - start]
    with pristine.open("r+b") as file:
        file.seek(start)
        before = file.read(len(noise))
        file.seek(start)
        file.write(noise)
        file.flush()
        try:
            read_all(pristine)
        finally:
            file.seek(start)
            file.write(before)


@settings(max_examples=40, suppress_health_check=SUPPRESSED)
@given(size=st.integers(0, layout.FILE_BYTES - 1))
def test_a_truncated_ring_is_refused_and_one_truncated_later_reads_as_far_as_it_goes(
    pristine: Path, size: int
) -> None:
    whole = pristine.read_bytes()
    opened = RingReader.open(pristine)
    os.truncate(pristine, size)
    try:
        with pytest.raises(RingError) as refused:
            RingReader.open(pristine)
        assert refused.value.reason == "truncated"
        for number, values in enumerate(opened.steps(0, ROWS)):
            assert values is None or list(values) == row(number)
        opened.header()
        opened.events(0)
        opened.last_sign()
    finally:
        opened.close()
        pristine.write_bytes(whole)


def patched(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def reseal(path: Path, **changes: int | bytes) -> None:
    """Rewrite prefix fields with a right checksum, as a hostile writer would."""
    names = ["magic", "version", "header", "step", "steps", "event", "events", "fields", "uuid", "created"]
    values = dict(zip(names, layout.PREFIX.unpack(path.read_bytes()[: layout.PREFIX.size])[:-1], strict=True))
    packed = layout.PREFIX.pack(*(values | changes).values(), 0)
    patched(path, 0, packed[:-4] + struct.pack("<I", zlib.crc32(packed[:-4])))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"magic": b"ENILECAP"}, "foreign"),
        ({"version": 0}, "version"),
        ({"version": 2}, "version"),
        ({"steps": 2**32 - 1}, "size"),
        ({"step": 0}, "size"),
        ({"events": 0}, "size"),
        ({"header": 2**32 - 1}, "size"),
        ({"fields": 0}, "size"),
        ({"fields": 62}, "size"),
        ({"uuid": b"\0" * 16}, "foreign"),
    ],
)
def test_a_well_sealed_lie_in_the_prefix_is_refused(recorder: Recorder, changes: dict, reason: str) -> None:
    reseal(recorder.path, **changes)
    with pytest.raises(RingError) as refused:
        RingReader.open(recorder.path)
    assert refused.value.reason == reason


def test_a_larger_file_is_refused(recorder: Recorder) -> None:
    os.truncate(recorder.path, 2**40)
    with pytest.raises(RingError) as refused:
        RingReader.open(recorder.path)
    assert refused.value.reason == "size"


def test_fields_that_an_older_writer_did_not_know_are_nan(recorder: Recorder) -> None:
    known = 15
    reseal(recorder.path, fields=known)
    body = layout.NUMBER.size + 8 * known
    start = layout.STEPS_OFFSET
    record = recorder.path.read_bytes()[start : start + layout.STEP_BYTES]
    checksum = zlib.adler32(record[layout.BODY_OFFSET : layout.BODY_OFFSET + body])
    patched(recorder.path, start + layout.STEP_CHECKSUM_OFFSET, layout.CHECKSUM.pack(checksum))
    opened = RingReader.open(recorder.path)
    (values,) = opened.steps(0, 1)
    opened.close()
    assert values is not None
    assert list(values[:known]) == row(0)[:known]
    assert all(math.isnan(value) for value in values[known:])
    assert len(values) == len(layout.STEP_FIELDS)


@pytest.mark.parametrize("claim", [2**64 - 1, 2**63, 2**53 + 1])
def test_absurd_cursors_count_as_none(recorder: Recorder, reader: RingReader, claim: int) -> None:
    patched(recorder.path, layout.CURSOR_OFFSET, layout.CURSOR.pack(claim, claim))
    assert reader.cursors() == (0, 0)
    assert reader.events(0) == []
    assert reader.last_sign() >= reader.created


def test_cursors_ahead_of_the_records_give_lost_rows_and_no_events(
    recorder: Recorder, reader: RingReader
) -> None:
    patched(recorder.path, layout.CURSOR_OFFSET, layout.CURSOR.pack(10**9, 10**9))
    assert reader.steps(10**9 - 3, 10**9) == [None, None, None]
    assert reader.events(0) == []


def test_wrap_around_keeps_the_newest_lap(recorder: Recorder, reader: RingReader) -> None:
    total = layout.STEP_CAPACITY + 10
    for number in range(ROWS, total):
        recorder.step(row(number))
    assert reader.cursors()[0] == total
    rows = reader.steps(total - layout.STEP_CAPACITY, total)
    assert [list(values) for values in rows if values] == [row(n) for n in range(10, total)]
    assert reader.steps(0, 10) == [None] * 10


def test_more_than_a_lap_at_a_time_is_the_callers_mistake(reader: RingReader) -> None:
    with pytest.raises(ValueError, match="at most 4096"):
        reader.steps(0, layout.STEP_CAPACITY + 1)


def test_the_event_ring_wraps_too(recorder: Recorder, reader: RingReader) -> None:
    for number in range(EVENTS, 300):
        recorder.event("checkpoint", float(number), {"number": number})
    held = reader.events(0)
    assert [event.number for event in held] == list(range(300 - layout.EVENT_CAPACITY, 300))
    assert [event.number for event in reader.events(298)] == [298, 299]


def test_a_torn_header_slot_gives_the_one_before(recorder: Recorder, reader: RingReader) -> None:
    recorder.update_header({"device": "one"})
    recorder.update_header({"device": "two"})
    newest = reader.header()
    assert newest is not None and newest.data["device"] == "two"
    slot = layout.SLOT_OFFSETS[newest.generation % 2]
    patched(recorder.path, slot + layout.SLOT.size + 3, b"#")
    older = reader.header()
    assert older is not None
    assert (older.generation, older.data["device"]) == (newest.generation - 1, "one")
    patched(recorder.path, layout.SLOT_OFFSETS[older.generation % 2], b"\xff" * layout.SLOT.size)
    assert reader.header() is None


@pytest.mark.parametrize("body", [b"[" * 30000, b'{"a":' * 6000, b"[]", b"\xff\xfe", b"9" * 6000, b""])
def test_a_well_sealed_header_that_is_no_object_is_none(
    recorder: Recorder, reader: RingReader, body: bytes
) -> None:
    for generation, offset in enumerate(layout.SLOT_OFFSETS, start=7):
        patched(recorder.path, offset, layout.SLOT.pack(generation, len(body), zlib.crc32(body)) + body)
    assert reader.header() is None


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 900,
        b"{}",
        b'{"kind": 1, "detail": [1]}',
        b'{"kind": "x"}',
        b'{"kind": "x", "detail": [[[], 1]]}',
        b"\xff",
    ],
)
def test_a_well_sealed_event_that_is_none_is_left_out(
    recorder: Recorder, reader: RingReader, body: bytes
) -> None:
    _forge_event(recorder.path, 0, time.time(), body)
    assert [event.number for event in reader.events(0)] == [1, 2]


def test_an_event_at_no_time_is_left_out(recorder: Recorder, reader: RingReader) -> None:
    _forge_event(recorder.path, 1, math.nan, b'{"kind": "nan", "detail": {}}')
    assert [event.number for event in reader.events(0)] == [0, 2]


def _forge_event(path: Path, number: int, when: float, body: bytes) -> None:
    record = bytearray(layout.EVENT_BYTES)
    layout.LOCK.pack_into(record, 0, 2 * number + 2)
    layout.EVENT_HEAD.pack_into(record, layout.BODY_OFFSET, number, when, 1.0, len(body))
    start = layout.BODY_OFFSET + layout.EVENT_HEAD.size
    record[start : start + len(body)] = body
    checksum = zlib.adler32(record[layout.BODY_OFFSET : layout.EVENT_CHECKSUM_OFFSET])
    layout.CHECKSUM.pack_into(record, layout.EVENT_CHECKSUM_OFFSET, checksum)
    patched(path, layout.event_offset(number), bytes(record))


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e308, 5e-324])
def test_any_float_survives(recorder: Recorder, reader: RingReader, value: float) -> None:
    recorder.step([value] * len(layout.STEP_FIELDS))
    (read,) = reader.steps(ROWS, ROWS + 1)
    assert read is not None
    assert all(struct.pack("d", one) == struct.pack("d", value) for one in read)


NOT_RINGS: dict[str, tuple[Callable[[Path], object], str]] = {
    "symlink": (lambda path: path.symlink_to("/etc/passwd"), "not_regular"),
    "fifo": (lambda path: os.mkfifo(path), "not_regular"),
    "directory": (lambda path: path.mkdir(), "not_regular"),
    "socket": (lambda path: os.mknod(path, stat.S_IFSOCK | 0o600), "not_regular"),
    "empty": (lambda path: path.touch(), "truncated"),
    "text": (lambda path: path.write_text("not a ring\n" * 100), "foreign"),
}


@pytest.mark.parametrize("kind", NOT_RINGS)
def test_what_is_no_ring_is_skipped_and_counted(recorder: Recorder, kind: str) -> None:
    make, reason = NOT_RINGS[kind]
    make(recorder.path.with_name("0" * 32 + ".ring"))
    directory = RingDirectory(recorder.path.parent)
    try:
        scan = directory.scan()
        assert list(scan.rings) == [recorder.uuid]
        assert scan.skipped == {reason: 1}
    finally:
        directory.close()


def test_a_renamed_ring_is_not_believed(recorder: Recorder) -> None:
    other = recorder.path.with_name("0" * 32 + ".ring")
    other.write_bytes(recorder.path.read_bytes())
    with pytest.raises(RingError) as refused:
        RingReader.open(other)
    assert refused.value.reason == "foreign"


def test_a_ring_that_vanishes_between_listing_and_opening_is_counted(recorder: Recorder) -> None:
    class Late(RingDirectory):
        def _entries(self) -> list[os.DirEntry[str]]:
            entries = super()._entries()
            recorder.path.unlink()
            return entries

    directory = Late(recorder.path.parent)
    assert directory.scan().skipped == {"vanished": 1}
    directory.close()


def test_another_users_ring_is_counted_as_permission(recorder: Recorder, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    for parent in (tmp_path, *tmp_path.parents):
        if not parent.stat().st_mode & 0o001 and parent.stat().st_uid == 0 and parent.is_relative_to("/tmp"):
            parent.chmod(0o755)
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom paceline_exporters.rings import RingDirectory\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "print(dict(RingDirectory(Path(sys.argv[1])).scan().skipped))"
    )
    told = subprocess.run(
        [sys.executable, "-c", script, str(recorder.path.parent)], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "{'permission': 1}"


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("a file")])
def test_a_directory_that_is_none_holds_nothing(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "rings")
    scan = RingDirectory(tmp_path / "rings").scan()
    assert (dict(scan.rings), scan.skipped) == ({}, {})


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_scan_keeps_no_descriptor_of_what_is_gone(tmp_path: Path) -> None:
    directory = RingDirectory(tmp_path)
    before = descriptors()
    source = Recorder(tmp_path / "elsewhere", {"run_id": "r"})
    held = descriptors() - before
    data = source.path.read_bytes()
    for _ in range(5):
        copy = tmp_path / source.path.name
        copy.write_bytes(data)
        assert list(directory.scan().rings) == [source.uuid]
        copy.unlink()
        assert not directory.scan().rings
        (tmp_path / "junk.ring").write_bytes(b"x" * 10)
        directory.scan()
    assert descriptors() == before + held


def test_sweep_removes_what_nobody_holds_and_nothing_else(tmp_path: Path) -> None:
    alive = Recorder(tmp_path, {"run_id": "r"})
    script = (
        "import sys\nfrom paceline_exporters.attach.recorder import Recorder\n"
        "print(Recorder(sys.argv[1], {'run_id': 'dead'}).uuid)"
    )
    dead = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    watcher = (
        "import sys\nfrom pathlib import Path\nfrom paceline_exporters.rings import RingDirectory\n"
        "print(RingDirectory(Path(sys.argv[1])).sweep(float(sys.argv[2])))"
    )

    def sweep(seconds: float) -> str:
        command = [sys.executable, "-c", watcher, str(tmp_path), str(seconds)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert (tmp_path / f"{dead.stdout.strip()}.ring").exists()
    assert sweep(3600) == "0"
    assert sweep(-1) == "1"
    assert [path.stem for path in tmp_path.glob("*.ring")] == [alive.uuid]


WRITER = """
import sys
from paceline_exporters.attach import layout
from paceline_exporters.attach.recorder import Recorder
recorder = Recorder(sys.argv[1], {"run_id": "r"})
print(recorder.uuid, flush=True)
number, fields = 0, len(layout.STEP_FIELDS)
while True:
    recorder.step([number + index / 100 for index in range(fields)])
    number += 1
    if number % 50 == 0:
        recorder.update_header({"number": number})
        recorder.event("checkpoint", float(number), {"number": number})
"""


def test_a_writer_killed_at_any_moment_loses_at_most_one_record(tmp_path: Path) -> None:
    chance = random.Random(20)
    for _ in range(20):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        opened = RingReader.open(tmp_path / f"{writer.stdout.readline().strip()}.ring")
        assert opened.alive()
        _check_while_written(opened, chance.randrange(1, 12))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        assert not opened.alive()
        # A record whose lock was still odd, or whose cursor was not yet moved, is the one that may be lost.
        rows = _checked_rows(opened)
        assert sum(values is None for values in rows) <= 1
        header = opened.header()
        assert header is not None and header.data["run_id"] == "r"
        opened.close()


def _check_while_written(opened: RingReader, rounds: int) -> None:
    for _ in range(rounds):
        _checked_rows(opened)
        for event in opened.events(0):
            assert event.detail == {"number": event.step}
        header = opened.header()
        assert header is not None and header.data.get("number", 0) % 50 == 0


def _checked_rows(opened: RingReader) -> list[object]:
    stop = opened.cursors()[0]
    first = max(0, stop - layout.STEP_CAPACITY)
    rows = opened.steps(first, stop)
    for number, values in enumerate(rows, start=first):
        assert values is None or list(values) == row(number)
    return list(rows)


def test_the_lock_is_a_sign_of_life_for_others_only_and_no_child_inherits_it(tmp_path: Path) -> None:
    script = (
        "import os, sys, time\nfrom paceline_exporters.attach.recorder import Recorder\n"
        "r = Recorder(sys.argv[1], {'run_id': 'r'})\n"
        "child = os.fork()\n"
        "if child == 0:\n    os.close(r._descriptor); time.sleep(30); os._exit(0)\n"
        "print(r.uuid, child, flush=True); sys.stdin.read(1)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    uuid, child = parent.stdout.readline().split()
    opened = RingReader.open(tmp_path / f"{uuid}.ring")
    try:
        assert opened.alive()  # though a child closed its copy of the descriptor
        parent.kill()
        parent.wait()
        assert not opened.alive()  # though the child still runs
        os.kill(int(child), 0)
    finally:
        os.kill(int(child), signal.SIGKILL)
        parent.communicate()
        opened.close()


def test_a_header_is_json_of_plain_values(recorder: Recorder, reader: RingReader) -> None:
    recorder.update_header({"path": Path("/x"), "set": {1}, "text": "ü\udcff"})
    header = reader.header()
    assert header is not None
    assert json.loads(json.dumps(header.data)) == {**header.data}
    assert header.data["path"] == "/x"


def test_sweep_removes_what_was_never_finished(tmp_path: Path) -> None:
    old, young = tmp_path / ".1.new", tmp_path / ".2.new"
    for path in (old, young):
        path.touch()
    os.utime(old, (0, 0))
    directory = RingDirectory(tmp_path)
    assert directory.sweep(3600) == 0
    assert not old.exists() and young.exists()
    directory.close()
