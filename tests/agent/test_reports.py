from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from paceline_agent.reports import columns, ring_report
from paceline_exporters.attach import layout
from paceline_exporters.attach.recorder import Recorder
from paceline_exporters.messages import RingMark
from paceline_exporters.rings import RingReader

HEADER = {"run_id": "r", "rank": 1, "world_size": 2, "attempt": 0, "node": "n"}


def row(number: int) -> list[float]:
    return [number + 1.0, *[0.5] * (len(layout.STEP_FIELDS) - 2), math.nan]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., tuple[Recorder, RingReader]]]:
    readers: list[RingReader] = []

    def make(header: dict[str, Any] = HEADER) -> tuple[Recorder, RingReader]:
        recorder = Recorder(tmp_path, header)
        readers.append(RingReader.open(recorder.path))
        return recorder, readers[-1]

    yield make
    for reader in readers:
        reader.close()


Opened = Callable[..., tuple[Recorder, RingReader]]


def test_a_first_report_tells_all_and_the_next_only_what_is_new(opened: Opened) -> None:
    recorder, reader = opened()
    for number in range(3):
        recorder.step(row(number))
    recorder.event("first_step", 1.0)
    first = ring_report(reader, None)
    assert first is not None and first.window is not None
    assert (first.rank, first.world_size, first.run_id, first.node) == (1, 2, "r", "n")
    assert first.header == HEADER
    assert (first.window.first, first.window.last) == (0, 2)
    assert first.window.columns["step"] == [1.0, 2.0, 3.0]
    assert layout.STEP_FIELDS[-1] not in first.window.columns  # unknown throughout
    assert [event.kind for event in first.events] == ["first_step"]

    mark = RingMark(next_record=3, next_event=1, generation=first.generation, known=True)
    assert ring_report(reader, mark) is None
    always = ring_report(reader, mark, always=True)
    assert always is not None and (always.window, always.header, list(always.events)) == (None, None, [])

    recorder.step(row(3))
    recorder.update_header({"device": "cpu"})
    news = ring_report(reader, mark)
    assert news is not None and news.window is not None and news.header is not None
    assert (news.window.first, news.window.last, news.header["device"]) == (3, 3, "cpu")


def test_a_long_absence_is_told_in_pieces_from_what_the_ring_still_holds(opened: Opened) -> None:
    recorder, reader = opened()
    total = layout.STEP_CAPACITY + 700
    for number in range(total):
        recorder.step(row(number))
    mark = RingMark(0, 0, 0, True)
    pieces = []
    while (report := ring_report(reader, mark)) is not None:
        if report.window is not None:
            pieces.append((report.window.first, report.window.last))
            mark = RingMark(report.window.last + 1, 0, report.generation, True)
    assert pieces[0][0] == 700
    assert pieces[-1][1] == total - 1
    assert all(last - first < 512 for first, last in pieces)
    assert all(later[0] == earlier[1] + 1 for earlier, later in pairwise(pieces))


def test_a_lost_record_is_null_in_every_column(opened: Opened) -> None:
    recorder, reader = opened()
    for number in range(3):
        recorder.step(row(number))
    with recorder.path.open("r+b") as file:
        file.seek(layout.step_offset(1))
        file.write(layout.LOCK.pack(3))
    report = ring_report(reader, None)
    assert report is not None and report.window is not None
    assert report.window.columns["step"] == [1.0, None, 3.0]
    assert {values[1] for values in report.window.columns.values()} == {None}


def test_what_is_not_finite_travels_as_null(opened: Opened) -> None:
    recorder, reader = opened()
    recorder.step([1.0, *[math.inf] * (len(layout.STEP_FIELDS) - 1)])
    report = ring_report(reader, None)
    assert report is not None and report.window is not None
    json.dumps(report.window.columns, allow_nan=False)


def test_who_ends_while_it_is_read_lived_when_it_was(rings: Path, trainer: Any, monkeypatch: Any) -> None:
    one = trainer()
    reader = RingReader.open(next(rings.glob("*.ring")))
    read = reader.events

    def ends_meanwhile(first: int) -> Any:
        found = read(first)
        one.event("end", 3, how="finished")
        one.kill()
        return found

    monkeypatch.setattr(reader, "events", ends_meanwhile)
    report = ring_report(reader, None)
    assert report is not None
    assert (report.events, report.alive) == ([], True)
    monkeypatch.undo()
    report = ring_report(reader, None)
    assert report is not None
    assert ([event.kind for event in report.events], report.alive) == (["end"], False)
    reader.close()


@pytest.mark.parametrize("header", [{}, {"run_id": None}, {"run_id": 7}])
def test_a_ring_of_no_run_is_not_reported(opened: Opened, header: dict[str, Any]) -> None:
    recorder, reader = opened(header)
    recorder.step(row(0))
    assert ring_report(reader, None) is None


def test_odd_identity_becomes_the_default(opened: Opened) -> None:
    _, reader = opened({"run_id": "r", "rank": "one", "world_size": None, "attempt": [], "node": 5})
    report = ring_report(reader, None)
    assert report is not None
    assert (report.rank, report.world_size, report.attempt, report.node) == (0, 1, 0, "5")


def test_absurd_cursors_make_no_window(opened: Opened) -> None:
    recorder, reader = opened()
    with recorder.path.open("r+b") as file:
        file.seek(layout.CURSOR_OFFSET)
        file.write(layout.CURSOR.pack(2**64 - 1, 2**64 - 1))
    report = ring_report(reader, None)
    assert report is not None
    assert (report.window, list(report.events)) == (None, [])


def test_columns_of_nothing_are_none() -> None:
    assert columns([]) == {}
    assert columns([None, None]) == {}
