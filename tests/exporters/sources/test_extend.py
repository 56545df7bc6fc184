from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline_exporters.sources.extend import Extended, Memory

BITS = 32


@dataclass
class Hardware:
    """A counter of some width, as silicon has it."""

    bits: int
    stops: bool
    raw: int = 0

    def count(self, events: int) -> int:
        """Count; the events that the register holds."""
        top = (1 << self.bits) - 1
        before = self.raw
        self.raw = min(self.raw + events, top) if self.stops else (self.raw + events) & top
        return self.raw - before if self.stops else events


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 2**31 - 1)))
def test_a_wrapping_counter_grows_by_what_was_counted(start: int, events: list[int]) -> None:
    hardware, counter = Hardware(BITS, stops=False, raw=start), Extended(BITS)
    counter.take(hardware.raw)
    for count in events:
        hardware.count(count)
        assert counter.take(hardware.raw) is False
    assert counter.total == start + sum(events)


@given(st.sampled_from([4, 8, 16, 32]), st.lists(st.integers(0, 2**16)))
def test_a_counter_that_stops_grows_until_it_stops(bits: int, events: list[int]) -> None:
    hardware, counter = Hardware(bits, stops=True), Extended(None)
    held = 0
    for count in events:
        held += hardware.count(count)
        assert counter.take(hardware.raw) is False
        assert counter.total == held


@given(
    st.integers(0, 2**32 - 1),
    st.lists(
        st.tuples(
            st.sampled_from(["count", "new device", "agent restarts", "agent is killed", "agent saves"]),
            st.integers(0, 2**20),
        )
    ),
)
def test_over_new_devices_and_new_agents_the_total_is_what_was_counted(
    start: int, steps: list[tuple[str, int]]
) -> None:
    hardware, life, resets, true = Hardware(BITS, stops=False, raw=start), 1, 0, start
    key = "ports/1/hw_counters/out_of_sequence"
    memory = Memory()
    memory.resets["1"] = 0
    memory.live("boot:1")
    memory.counter(key, BITS).take(hardware.raw)
    saved = json.dumps(memory.document())
    for what, events in steps:
        if what in ("new device", "agent saves"):  # a removal is saved at once
            saved = json.dumps(memory.document())
        if what == "new device":
            life, resets = life + 1, resets + 1
            hardware.raw = 0
        elif what == "agent restarts":
            memory = Memory(json.loads(json.dumps(memory.document())))
        elif what == "agent is killed":  # and loses all readings since the latest saving
            memory = Memory(json.loads(saved))
        memory.live(f"boot:{life}")
        true += hardware.count(events)
        assert memory.counter(key, BITS).take(hardware.raw) is False
        assert memory.counter(key, BITS).total == true
    assert memory.resets == {"1": resets}


@given(st.lists(st.integers(0, 2**64 - 1)), st.sampled_from([None, 32, 48]))
def test_whatever_the_hardware_says_the_total_never_falls(readings: list[int], bits: int | None) -> None:
    counter, total = Extended(bits), 0
    for raw in readings:
        counter.take(raw)
        assert counter.total >= total
        total = counter.total


def test_a_wide_counter_that_fell_was_reset() -> None:
    counter = Extended(None)
    assert [counter.take(raw) for raw in (1000, 1010, 3, 5)] == [False, False, True, False]
    assert counter.total == 1010 + 5


def test_a_counter_far_from_its_end_that_fell_was_reset() -> None:
    counter = Extended(32)
    assert [counter.take(raw) for raw in (1000, 5)] == [False, True]
    assert counter.total == 1005


def test_a_counter_beyond_its_supposed_width_does_not_wrap() -> None:
    counter = Extended(32)
    assert [counter.take(raw) for raw in (2**32 + 5, 2**32 + 9, 7)] == [False, False, True]
    assert counter.total == 2**32 + 9 + 7


def test_a_counter_missed_in_one_life_begins_anew_in_the_next() -> None:
    memory = Memory({"generation": "a", "counters": {"x": [100, 90]}, "resets": {"1": 2}})
    memory.live("b")
    assert memory.document()["counters"] == {"x": [100, None]}
    memory = Memory(memory.document())
    memory.counter("x", None).take(7)
    assert memory.document() == {
        "generation": "b",
        "counters": {"x": [107, 7]},
        "resets": {"1": 3},
        "errors": {},
    }


FIRMWARE = "ports/1/counters/link_downed"


def in_firmware(key: str) -> bool:
    return key == FIRMWARE


def known_at(raw: int, document: object = None) -> Memory:
    memory = Memory(document)
    memory.live("boot:1", in_firmware)
    memory.resets["1"] = 0
    memory.counter(FIRMWARE, None).take(raw)
    return memory


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(("raw", "total"), [(200, 200), (207, 207), (3, 203), (0, 200)])
def test_what_stands_in_firmware_is_not_counted_again_when_the_device_returns(
    raw: int, total: int, restarted: bool
) -> None:
    """It begins anew only where it fell, and then the return has declared it."""
    memory = known_at(200)
    if restarted:
        memory = Memory(json.loads(json.dumps(memory.document())))
    memory.live("boot:2", in_firmware)
    counter = memory.counter(FIRMWARE, None)
    assert counter.take(raw) is False
    assert (counter.total, memory.resets) == (total, {"1": 1})
    assert counter.take(raw + 1) is False
    assert counter.take(raw) is True


def test_after_another_boot_all_counters_begin_anew() -> None:
    memory = known_at(200)
    memory.live("other boot:1", in_firmware)
    counter = memory.counter(FIRMWARE, None)
    counter.take(300)
    assert (counter.total, memory.resets) == (500, {"1": 1})


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {"generation": 3, "resets": [], "errors": {"EIO": "many"}, "counters": []},
        {"counters": {"x": 3, "y": ["1", 2], "z": [1]}},
        {"resets": {"1": -1, "2": True}, "errors": {"EIO": 1.5}, "counters": {"x": [-5, 3]}},
        {"counters": {"x": [5, -3]}},
        {"counters": {"x": [True, None]}},
        {"counters": {"x": [1e300, 1]}},
    ],
)
def test_a_document_that_is_no_memory(document: object) -> None:
    memory = Memory(document)
    memory.live("a")
    memory.live("b")
    counter = memory.counter("x", 32)
    counter.take(4)
    assert counter.total == 4
    assert not memory.resets
    assert not memory.errors
