from __future__ import annotations

import logging
from pathlib import Path

import pytest

from paceline_exporters.kept import Kept


def test_what_was_saved_is_loaded_by_the_next(tmp_path: Path) -> None:
    Kept(tmp_path / "state", "xid").save({"seen": [1, 2]})
    assert Kept(tmp_path / "state", "xid").load() == {"seen": [1, 2]}
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["xid.json"]


@pytest.mark.parametrize("found", [b"", b"{", b"[1]", b"[" * 100_000, b"\xff"])
def test_what_does_not_parse_is_no_document(tmp_path: Path, found: bytes) -> None:
    (tmp_path / "xid.json").write_bytes(found)
    assert Kept(tmp_path, "xid").load() == {}


def test_no_directory_keeps_nothing(tmp_path: Path) -> None:
    kept = Kept(None, "xid")
    kept.save({"a": 1})
    assert kept.load() == {}


def test_a_directory_that_cannot_be_used_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    kept = Kept(tmp_path / "file", "xid")
    with caplog.at_level(logging.WARNING):
        kept.save({})
        kept.save({})
    assert len(caplog.records) == 1
    assert "--state.directory" in caplog.text
