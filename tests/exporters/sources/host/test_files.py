from __future__ import annotations

from pathlib import Path

import pytest

from paceline_exporters.sources.host.files import CHUNK, Files


def test_a_long_file_is_read_to_its_end(tmp_path: Path) -> None:
    text = b"0123456789abcdef" * (CHUNK // 8) + b"end"
    (tmp_path / "long").write_bytes(text)
    files = Files(tmp_path)
    assert files.read("long") == text
    files.close()


def test_one_descriptor_per_file(tmp_path: Path) -> None:
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    (tmp_path / "a").write_bytes(b"1")
    files = Files(tmp_path)
    assert [files.read("a") for _ in range(3)] == [b"1"] * 3
    assert len(list(descriptors.iterdir())) == before + 1
    files.close()
    assert len(list(descriptors.iterdir())) == before


def test_a_file_that_comes_later(tmp_path: Path) -> None:
    files = Files(tmp_path)
    with pytest.raises(FileNotFoundError):
        files.read("a")
    (tmp_path / "a").write_bytes(b"1")
    assert files.read("a") == b"1"
    files.close()


def test_a_read_that_fails_gives_up_its_descriptor(tmp_path: Path) -> None:
    """A directory can be opened, and fails to be read."""
    (tmp_path / "a").mkdir()
    files = Files(tmp_path)
    with pytest.raises(IsADirectoryError):
        files.read("a")
    (tmp_path / "a").rmdir()
    (tmp_path / "a").write_bytes(b"1")
    assert files.read("a") == b"1"
    files.close()
