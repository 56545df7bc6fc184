from __future__ import annotations

import errno
from pathlib import Path

import pytest

from paceline_exporters.sources.rdma.tree import TEXT_SIZE, Attribute, Descriptors, names, target, text


def descriptors_of_this_process(directory: Path) -> int:
    return sum(link.resolve().is_relative_to(directory) for link in Path("/proc/self/fd").iterdir())


def test_an_attribute_is_read_anew_through_one_descriptor(tmp_path: Path) -> None:
    path, descriptors = tmp_path / "counter", Descriptors(5)
    path.write_text("1\n")
    attribute = Attribute(str(path), descriptors)
    assert attribute.read() == b"1\n"
    path.write_text("22\n")
    assert attribute.read() == b"22\n"
    assert descriptors_of_this_process(tmp_path) == 1
    assert descriptors.left == 4
    attribute.close()
    assert descriptors_of_this_process(tmp_path) == 0
    assert descriptors.left == 5


def test_beyond_the_descriptors_files_are_opened_at_each_read(tmp_path: Path) -> None:
    descriptors = Descriptors(1)
    attributes = []
    for number in range(3):
        (tmp_path / str(number)).write_text(str(number))
        attributes.append(Attribute(str(tmp_path / str(number)), descriptors))
    for _ in range(2):
        assert [attribute.read() for attribute in attributes] == [b"0", b"1", b"2"]
    assert descriptors_of_this_process(tmp_path) == 1
    for attribute in attributes:
        attribute.close()


def test_a_read_that_fails_keeps_no_descriptor(tmp_path: Path) -> None:
    attribute = Attribute(str(tmp_path), Descriptors(5))
    with pytest.raises(IsADirectoryError):
        attribute.read()
    assert descriptors_of_this_process(tmp_path) == 0


def test_what_is_absent_is_no_fault_and_what_fails_is_told(tmp_path: Path) -> None:
    told: list[Exception] = []
    assert text(tmp_path / "fw_ver", told.append) == ""
    assert names(tmp_path / "ports", told.append) == []
    assert not told
    assert text(tmp_path, told.append) == ""
    assert [error.errno for error in told if isinstance(error, OSError)] == [errno.EISDIR]


def test_no_more_than_a_page_of_a_text_is_read(tmp_path: Path) -> None:
    (tmp_path / "fw_ver").write_text("1" * 3 * TEXT_SIZE)
    assert len(text(tmp_path / "fw_ver", lambda error: None)) == TEXT_SIZE


def test_a_link_that_leads_nowhere_or_to_itself_is_told(tmp_path: Path) -> None:
    told: list[Exception] = []
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "lost").symlink_to("nothing")
    (tmp_path / "good").symlink_to(".")
    assert target(tmp_path / "good", told.append) == tmp_path.resolve()
    assert target(tmp_path / "absent", told.append) is None
    assert not told
    assert target(tmp_path / "loop", told.append) is None
    assert target(tmp_path / "lost", told.append) is None
    assert [error.errno for error in told if isinstance(error, OSError)] == [errno.ELOOP, errno.ENOENT]
