from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from paceline_agent.spool import Spool, SpoolError, spool_directory
from paceline_exporters.messages import RingMark


def mark(record: int) -> RingMark:
    return RingMark(record, record + 1, record + 2, known=True)


def contents(spool: Spool) -> list[bytes]:
    found = []
    while (oldest := spool.oldest()) is not None:
        found.append(oldest[1])
        spool.remove(oldest[0])
    return found


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    one = Spool(tmp_path, 10_000)
    yield one
    one.close()


def test_reports_come_back_in_order_also_after_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10_000)
    for number in range(12):
        spool.append(b'{"n": %d}' % number, {"ring": mark(number)})
    spool.close()
    again = Spool(tmp_path, 10_000)
    assert len(again) == 12
    assert again.marks() == {"ring": mark(11)}
    again.append(b'{"n": 12}', {})
    assert contents(again) == [b'{"n": %d}' % number for number in range(13)]
    assert again.size == 0
    again.close()


def test_the_oldest_is_dropped_when_full(spool: Spool) -> None:
    for number in range(4):
        spool.append(b"%d" % number * 4000, {})
    assert spool.dropped == 2
    assert [report[:1] for report in contents(spool)] == [b"2", b"3"]


@pytest.mark.parametrize("damage", [b"", b"\x00" * 20, b"{}\n{}\n00000000\n"])
def test_a_corrupt_file_is_skipped_and_counted(spool: Spool, damage: bytes) -> None:
    spool.append(b"first", {"ring": mark(1)})
    spool.append(b"second", {"ring": mark(2)})
    min(spool.directory.glob("*.report")).write_bytes(damage)
    assert contents(spool) == [b"second"]
    assert spool.corrupt == 1


def test_a_file_that_vanished_is_no_failure(spool: Spool) -> None:
    spool.append(b"first", {})
    next(spool.directory.glob("*.report")).unlink()
    assert spool.oldest() is None


def test_half_written_files_are_removed(tmp_path: Path) -> None:
    (tmp_path / "000000000001.new").write_bytes(b"half")
    spool = Spool(tmp_path, 100)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    spool.close()


def test_two_agents_cannot_share_a_spool(spool: Spool) -> None:
    with pytest.raises(SpoolError, match=r"another agent.*--spool\.directory"):
        Spool(spool.directory, 100)


def test_an_unwritable_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError, match=r"cannot write.*--spool\.directory"):
        Spool(tmp_path / "file" / "spool", 100)


def test_nodes_and_tuners_have_spools_of_their_own() -> None:
    names = {
        spool_directory(Path("/s"), node, url).name
        for node in ("a", "b/../c")
        for url in ("http://x", "http://y")
    }
    assert len(names) == 4
    assert not any("/" in name for name in names)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.decode().strip()}")
    try:
        spool = Spool(tmp_path / "spool", 2**20)
        spool.append(b"a" * 10_000, {})
        with pytest.raises(OSError, match="No space left"):
            spool.append(b"b" * 100_000, {})
        assert contents(spool) == [b"a" * 10_000]
        assert not list(spool.directory.glob("*.new"))
        spool.close()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
