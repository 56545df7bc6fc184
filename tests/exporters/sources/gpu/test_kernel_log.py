from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline_exporters.sources.gpu.kernel_log import KernelLog, Record, parse

KMSG = Path("/dev/kmsg")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[KernelLog]:
    one = KernelLog(tmp_path / "kmsg")
    yield one
    one.close()


def append(log: KernelLog, text: str) -> None:
    with log._path.open("a") as file:
        file.write(text)


@pytest.mark.parametrize(
    ("line", "record"),
    [
        (b"4,12,1500000,-;NVRM: loading", Record(12, 1.5, True, "NVRM: loading")),
        (b"12,0,0,-;typed by a process", Record(0, 0.0, False, "typed by a process")),
        (b"6,7,5140900,c,caller=T1,more;a; b", Record(7, 5.1409, True, "a; b")),
        (b"6,7,1,-;\xff", Record(7, 1e-6, True, "�")),
        (b" SUBSYSTEM=pci", None),
        (b"", None),
        (b"6,seven,1,-;text", None),
        (b"6,7,1,- no text", None),
    ],
)
def test_parse(line: bytes, record: Record | None) -> None:
    assert parse(line) == record


@given(st.binary())
def test_parse_never_raises(line: bytes) -> None:
    parse(line)


def test_what_is_new_is_read_once(log: KernelLog) -> None:
    append(log, "6,0,1000000,-;one\n DEVICE=+pci:0000:3b:00.0\n6,1,2000000,-;two\n6,2,30")
    assert [record.text for record in log.read()] == ["one", "two"]
    assert log.read() == []
    append(log, "00000,-;three\n")
    assert [(record.sequence, record.seconds, record.text) for record in log.read()] == [(2, 3.0, "three")]
    assert (log.problem, log.lost) == (None, 0)


def test_a_gap_in_the_sequence_is_what_was_lost(log: KernelLog) -> None:
    append(log, "6,40,1,-;where the ring begins is no loss\n6,41,1,-;a\n6,45,1,-;b\n")
    assert len(log.read()) == 3
    append(log, "6,48,1,-;c\n")
    log.read()
    assert log.lost == 5


def test_a_file_that_appears_later_is_found(log: KernelLog) -> None:
    assert log.read() == []
    assert log.problem is not None
    assert str(log._path) in log.problem
    assert "No such file" in log.problem
    append(log, "6,0,1,-;one\n")
    assert [record.text for record in log.read()] == ["one"]
    assert log.problem is None


def test_a_fifo_never_makes_it_wait(log: KernelLog) -> None:
    os.mkfifo(log._path)
    assert log.read() == [], "nobody writes"
    with log._path.open("wb", buffering=0) as writer:
        assert log.read() == [], "nothing written"
        writer.write(b"6,0,1,-;one\n")
        assert [record.text for record in log.read()] == ["one"]


def test_a_directory_is_a_problem_and_is_tried_again(log: KernelLog) -> None:
    log._path.mkdir()
    assert log.read() == []
    assert log.problem is not None
    assert "Is a directory" in log.problem
    log._path.rmdir()
    append(log, "6,0,1,-;one\n")
    assert len(log.read()) == 1


def test_overwritten_records_are_passed_over(log: KernelLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel answers when its ring overtook the reader: EPIPE, then the oldest record there is."""
    answers: Iterator[bytes | OSError] = iter(
        [b"6,0,1,-;one\n", BrokenPipeError(), b"6,9,1,-;ten\n", BlockingIOError()]
    )

    def read(_file: int, _size: int) -> bytes:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    append(log, "")
    with monkeypatch.context() as patch:
        patch.setattr(os, "read", read)
        texts = [record.text for record in log.read()]
    assert texts == ["one", "ten"]
    assert log.lost == 8


@pytest.mark.skipif(not os.access(KMSG, os.R_OK), reason="the kernel's log cannot be read here")
def test_the_kernels_own_log() -> None:
    log = KernelLog(KMSG)
    records = log.read()
    if log.problem is not None:
        pytest.skip(log.problem)
    sequences = [record.sequence for record in records]
    assert sequences == sorted(set(sequences))
    assert any(record.from_kernel for record in records)
    again = log.read()
    assert not {record.sequence for record in again} & set(sequences)
    log.close()
