from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline_exporters.sources.gpu.xid_pairs import WINDOW_SECONDS, Pairs, Stream

KEY = ("GPU-1", 79)
STREAMS: tuple[Stream, ...] = get_args(Stream)


def news(*words: tuple[Stream, float], pairs: Pairs | None = None) -> int:
    pairs = pairs or Pairs()
    return sum(pairs.is_news(stream, KEY, at) for stream, at in words)


def within_the_window(most: int) -> Any:
    """As many words of each stream, in any order, at any times of one window."""
    count = st.integers(0, most)
    words = count.flatmap(lambda n: st.permutations(["driver"] * n + ["kernel"] * n))
    return words.flatmap(
        lambda order: st.tuples(
            st.just(order),
            st.lists(st.floats(0, WINDOW_SECONDS), min_size=len(order), max_size=len(order)),
        )
    )


@given(within_the_window(40))
def test_any_interleaving_of_both_streams_counts_each_happening_once(
    words: tuple[list[Stream], list[float]],
) -> None:
    order, times = words
    assert news(*zip(order, times, strict=True)) == len(order) // 2


@given(st.lists(st.sampled_from(STREAMS), max_size=60))
def test_the_fuller_stream_decides(order: list[Stream]) -> None:
    assert news(*((stream, 1.0) for stream in order)) == max(order.count("driver"), order.count("kernel"))


@pytest.mark.parametrize("stream", STREAMS)
def test_one_stream_alone_counts_all(stream: Stream) -> None:
    assert news(*((stream, at / 10) for at in range(1000))) == 1000


def test_words_further_apart_are_two_happenings() -> None:
    assert news(("driver", 0.0), ("kernel", WINDOW_SECONDS + 0.1)) == 2
    assert news(("driver", WINDOW_SECONDS + 0.1), ("kernel", 0.0)) == 2


def test_a_happening_of_long_ago_does_not_hide_a_new_one() -> None:
    assert news(("kernel", 0.0), ("kernel", 100.0), ("driver", 101.0), ("driver", 102.0)) == 3


def test_gpus_and_codes_are_apart() -> None:
    pairs = Pairs()
    assert pairs.is_news("driver", ("GPU-1", 79), 0.0)
    assert pairs.is_news("kernel", ("GPU-2", 79), 0.0)
    assert pairs.is_news("kernel", ("GPU-1", 48), 0.0)
    assert not pairs.is_news("kernel", ("GPU-1", 79), 0.0)


@given(within_the_window(10), st.integers(0, 20))
def test_nothing_is_counted_twice_across_a_restart(words: tuple[list[Stream], list[float]], cut: int) -> None:
    told = list(zip(*words, strict=True))
    before = Pairs()
    count = news(*told[:cut], pairs=before)
    count += news(*told[cut:], pairs=Pairs(before.encode()))
    assert count == len(told) // 2
