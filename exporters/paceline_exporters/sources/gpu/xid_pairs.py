"""One happening, told by two streams, is counted once."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import Any, Literal

Stream = Literal["driver", "kernel"]
Key = tuple[str, int]
"""GPU and code."""

WINDOW_SECONDS = 30.0
"""How far apart the streams may tell of one happening. Wide, since a driver in trouble answers late; and that
costs little, since two happenings of one code on one GPU are merged only if each stream missed another one."""
MOST = 4096
"""Happenings of a key that wait for the other stream's word; the oldest are given up beyond."""


class Pairs:
    """Tells what is news: word of a happening that the other stream has not told of before.

    Each word closes the oldest open one of the other stream within the window, or else is news and opens one.
    So of N happenings told by both N are news, in whatever order the words come, and of those told by one, all.
    """

    def __init__(self, rows: Iterable[Sequence[Any]] = ()) -> None:
        """With the rows of an earlier `encode`, of the same boot. Raises ValueError, TypeError and KeyError for
        what is none."""
        self._open: dict[Stream, defaultdict[Key, deque[float]]] = {
            "driver": defaultdict(lambda: deque(maxlen=MOST)),
            "kernel": defaultdict(lambda: deque(maxlen=MOST)),
        }
        for stream, device, code, at in rows:
            self._open[stream][str(device), int(code)].append(float(at))

    def is_news(self, stream: Stream, key: Key, at: float) -> bool:
        """Take one word; `at` in seconds of CLOCK_MONOTONIC."""
        others = self._open["kernel" if stream == "driver" else "driver"][key]
        while others and others[0] < at - WINDOW_SECONDS:
            others.popleft()
        if others and others[0] <= at + WINDOW_SECONDS:
            others.popleft()
            return False
        own = self._open[stream][key]
        while own and own[0] < at - WINDOW_SECONDS:
            own.popleft()
        own.append(at)
        return True

    def encode(self) -> list[tuple[Stream, str, int, float]]:
        """What still waits for the other stream's word: stream, GPU, code, seconds of CLOCK_MONOTONIC."""
        return [
            (stream, device, code, at)
            for stream, keys in self._open.items()
            for (device, code), times in keys.items()
            for at in times
        ]
