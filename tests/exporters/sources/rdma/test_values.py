from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline_exporters.sources.rdma.values import lifespan_seconds, rate_bytes_per_second, state_id


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        (b"400 Gb/sec (4X NDR)\n", 50e9),
        (b"2.5 Gb/sec (1X SDR)\n", 312.5e6),
        (b"100 Gb/sec (4X EDR)\n", 12.5e9),
        (b"0 GB/sec\n", 0.0),
        (b"800 Gb/sec (4X XDR)", 100e9),
    ],
)
def test_a_rate_as_the_kernel_writes_it(text: bytes, rate: float) -> None:
    assert rate_bytes_per_second(text) == rate


@pytest.mark.parametrize("text", [b"", b"\n", b"N/A", b"nan Gb/sec", b"-1 Gb/sec", b"inf Gb/sec"])
def test_no_rate(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"rate|float"):
        rate_bytes_per_second(text)


@pytest.mark.parametrize(
    ("text", "number"), [(b"4: ACTIVE\n", 4), (b"5: LinkUp\n", 5), (b"7: Phy Test\n", 7), (b"1: DOWN", 1)]
)
def test_a_state_as_the_kernel_writes_it(text: bytes, number: int) -> None:
    assert state_id(text) == number


def test_a_lifespan_is_in_milliseconds() -> None:
    assert lifespan_seconds(b"10\n") == 0.01


@settings(deadline=None)
@given(st.binary(max_size=128))
def test_any_bytes_give_a_number_or_a_value_error(text: bytes) -> None:
    for parse in (state_id, rate_bytes_per_second, lifespan_seconds):
        with contextlib.suppress(ValueError):
            assert isinstance(parse(text), (int, float))
