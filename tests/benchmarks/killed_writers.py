"""What is left of a ring whose writer was killed by SIGKILL at any moment, while somebody read it."""

from __future__ import annotations

import random
import tempfile
import threading
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, NamedTuple

from paceline_exporters.attach import layout
from paceline_exporters.attach.recorder import Recorder
from paceline_exporters.rings import RingReader, StepRow

FIELDS = len(layout.STEP_FIELDS)
LIFE_SECONDS = 0.1
"""Most that a writer lives on after its ring was full for the first time."""
START_SECONDS = 60.0


EDGE_RECORDS = 256
"""Read at once while the writer runs: the oldest ones, into which it writes."""


class Left(NamedTuple):
    """What one writer left."""

    readable: int
    """Of the last `layout.STEP_CAPACITY` records."""
    wrong: int
    """Records that were given out, then or before, and are not what was written."""
    reads: int
    """While it was written."""


def killed_writers(context: ForkServerContext, kills: int, rings: Path) -> dict[str, int]:
    """Over all of them: the least that was readable, and records that were torn and passed for whole."""
    chance = random.Random(kills)
    left = []
    for _ in range(kills):
        with tempfile.TemporaryDirectory(dir=rings) as directory:
            left.append(_killed(context, Path(directory), chance.uniform(0.0, LIFE_SECONDS)))
    return {
        "sigkills": kills,
        "sigkill_readable_min": min(one.readable for one in left),
        "sigkill_in_a_record": sum(one.readable < layout.STEP_CAPACITY for one in left),
        "sigkill_reads": sum(one.reads for one in left),
        "torn_undetected": sum(one.wrong for one in left),
    }


def record(number: int) -> StepRow:
    """Record `number` as it must be read."""
    return tuple(number + index / 64 for index in range(FIELDS))


def _killed(context: ForkServerContext, rings: Path, life_seconds: float) -> Left:
    full = context.Event()
    writer = context.Process(target=_write, args=(rings, full), daemon=True)
    writer.start()
    if not full.wait(START_SECONDS):
        raise TimeoutError("the writer did not fill its ring")
    (path,) = rings.glob("*.ring")
    reader = RingReader.open(path)
    # From a thread, so that it does not wait for the end of a read.
    killer = threading.Timer(life_seconds, writer.kill)
    killer.start()
    reads = wrong = 0
    while writer.is_alive():
        wrong += _wrong(*_oldest(reader, EDGE_RECORDS))
        reads += 1
    first, rows = _oldest(reader, layout.STEP_CAPACITY)
    reader.close()
    return Left(sum(row is not None for row in rows), wrong + _wrong(first, rows), reads)


def _oldest(reader: RingReader, number: int) -> tuple[int, Sequence[StepRow | None]]:
    first = reader.cursors()[0] - layout.STEP_CAPACITY
    return first, reader.steps(first, first + number)


def _wrong(first: int, rows: Sequence[StepRow | None]) -> int:
    return sum(row is not None and row != record(number) for number, row in enumerate(rows, start=first))


def _write(rings: Path, full: Event) -> Any:
    recorder = Recorder(rings, {"run_id": "killed"})
    number = 0
    while True:
        recorder.step(record(number))
        number += 1
        if number == layout.STEP_CAPACITY:
            full.set()
