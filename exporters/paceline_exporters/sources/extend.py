"""Hardware counters made monotone: narrow ones are widened, a reset is told from a wrap and declared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

SAVE_SECONDS = 10.0
"""Between two savings. What comes in between is not lost with the agent: the next one adds what the hardware
counted since the saved reading and comes to the same total. A reset would break that: it is saved at once."""


class Extended:
    """A counter that only grows, fed with what the hardware shows.

    A reading below the one before is a wrap only where the counter is known to wrap (`bits`), its last reading
    fitted in that width, and the way around is less than half the range: half of 32 bits in 5 s would be 429
    million events a second, more than any port does. Everything else is a reset: what was counted between the
    last reading and the reset is lost and not made up, and counting goes on from the total, so that nothing after
    it is lost or invented. Whoever shows the total says that there was a reset.
    """

    __slots__ = ("_returned", "bits", "last", "total")

    def __init__(self, bits: int | None, total: int = 0, last: int | None = None) -> None:
        """`bits` is the width of a counter that wraps; None for one of 64 bits or one that stops at its limit.
        `total` and `last` as kept by an earlier agent; `last` is None before the first reading."""
        self.bits = bits
        self.total = total
        self.last = last
        self._returned = False

    def take(self, raw: int) -> bool:
        """One reading. True where the counter was reset since the one before."""
        last, self.last = self.last, raw
        returned, self._returned = self._returned, False
        if last is None or (returned and raw < last):
            self.total += raw
            return False
        moved = raw - last
        if moved < 0:
            wrap = 0 if self.bits is None else 1 << self.bits
            around = moved + wrap
            if last >= wrap or around >= wrap // 2:
                self.total += raw
                return True
            moved = around
        self.total += moved
        return False

    def begin_anew(self) -> None:
        """The device behind it is a new one: its next reading counts from 0."""
        self.last = None

    def come_back(self) -> None:
        """The device behind it may be a new one: if its next reading is below the last it counts from 0, which is
        no reset of its own."""
        self._returned = True


class Memory:
    """What is known of a device beyond one look at it; it outlives the device's removal and the agent."""

    def __init__(self, document: Any = None) -> None:
        """From what `document` gave; anything else in it is passed over."""
        found = document if isinstance(document, dict) else {}
        generation = found.get("generation")
        self.generation = generation if isinstance(generation, str) else ""
        """Names the device's present life: a removal and return, as by a reload of the driver, is another one."""
        self.resets = _counts(found.get("resets"))
        """By port; of the device's own counters under an empty one."""
        self.errors = _counts(found.get("errors"))
        """Failed reads by errno."""
        kept = found.get("counters")
        self._kept: dict[str, Any] = kept if isinstance(kept, dict) else {}
        self._counters: dict[str, Extended] = {}

    def counter(self, key: str, bits: int | None) -> Extended:
        """The counter of a file, by its path below the device."""
        known = self._counters.get(key)
        if known is None:
            known = self._counters[key] = _restored(self._kept.pop(key, None))
        known.bits = bits
        return known

    def live(self, generation: str, outlives: Callable[[str], bool] = lambda key: False) -> None:
        """The device is in this life, `BOOT:NAME`: if it was in another, its counters have begun anew, which is a
        reset. Those that `outlives` names by their key do so only with a boot, or where they fell: they stand in
        the hardware, which a reload of the driver does not touch."""
        if self.generation and generation != self.generation:
            same_boot = _boot(generation) == _boot(self.generation)
            for key in self._kept.keys() | self._counters.keys():
                counter = self.counter(key, None)
                counter.come_back() if same_boot and outlives(key) else counter.begin_anew()
            for port in self.resets:
                self.resets[port] += 1
        self.generation = generation

    def document(self) -> dict[str, Any]:
        """As JSON."""
        counters = {key: [counter.total, counter.last] for key, counter in self._counters.items()}
        return {
            "generation": self.generation,
            "resets": self.resets,
            "errors": self.errors,
            "counters": self._kept | counters,
        }


def boot_name(procfs: Path) -> str:
    """The present boot's; empty where it is unknown: then a reboot shows in counters that fell."""
    try:
        return (procfs / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _boot(generation: str) -> str:
    return generation.partition(":")[0]


def _restored(kept: object) -> Extended:
    match kept:
        case [int(total), int() | None as last] if _is_count(total) and (last is None or _is_count(last)):
            return Extended(None, total, last)
    return Extended(None)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0  # no bool, which JSON's `true` gives


def _counts(found: object) -> dict[str, int]:
    if not isinstance(found, dict):
        return {}
    return {key: value for key, value in found.items() if isinstance(key, str) and _is_count(value)}
