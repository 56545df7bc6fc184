from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline_exporters.sources.rdma.values import (
    count,
    lifespan_seconds,
    physical_state_id,
    rate_bytes_per_second,
    state_id,
)


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


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"N/A", b"nan Gb/sec", b"-1 Gb/sec", b"inf Gb/sec", b"1e308 Gb/sec"]
)
def test_no_rate(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"rate|float"):
        rate_bytes_per_second(text)


@pytest.mark.parametrize(("text", "number"), [(b"4: ACTIVE\n", 4), (b"1: DOWN", 1), (b"5: ACTIVE_DEFER", 5)])
def test_a_state_as_the_kernel_writes_it(text: bytes, number: int) -> None:
    assert state_id(text) == number


@pytest.mark.parametrize(("text", "number"), [(b"5: LinkUp\n", 5), (b"7: Phy Test\n", 7), (b"1: Sleep", 1)])
def test_a_physical_state_as_the_kernel_writes_it(text: bytes, number: int) -> None:
    assert physical_state_id(text) == number


@pytest.mark.parametrize("text", [b"0: NOP\n", b"8: <unknown>", b"99: ODD"])
def test_a_number_that_names_no_state_is_unknown(text: bytes) -> None:
    assert physical_state_id(text) is None
    assert state_id(text) is None


@pytest.mark.parametrize("text", [b"0\n", b"18446744073709551615\n", b"7"])
def test_a_counter_as_the_kernel_writes_it(text: bytes) -> None:
    assert count(text) == int(text)


@pytest.mark.parametrize(
    "text",
    [b"", b"-5\n", b"1_000\n", b"+1", b"12.5", b"0x10", b"18446744073709551616", b"9" * 100, "\u0663".encode()],
)
def test_no_counter(text: bytes) -> None:
    with pytest.raises(ValueError, match="no counter"):
        count(text)


def test_a_lifespan_is_in_milliseconds() -> None:
    assert lifespan_seconds(b"10\n") == 0.01


@given(st.binary(max_size=128))
def test_any_bytes_give_a_number_in_range_or_a_value_error(text: bytes) -> None:
    for parse in (state_id, physical_state_id, rate_bytes_per_second, lifespan_seconds, count):
        with contextlib.suppress(ValueError):
            found = parse(text)
            assert found is None or 0 <= found < float("inf")
