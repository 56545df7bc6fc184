"""Hardware counters made monotone: narrow ones are widened, a reset is told from a wrap and declared."""

from __future__ import annotations

from typing import Any


class Extended:
    """A counter that only grows, fed with what the hardware shows.

    A reading below the one before is a wrap only where the counter is known to wrap (`bits`), its last reading
    fitted in that width, and the way around is less than half the range: half of 32 bits in 5 s would be 429
    million events a second, more than any port does. Everything else is a reset: what was counted between the
    last reading and the reset is lost and not made up, and counting goes on from the total, so that nothing after
    it is lost or invented. Whoever shows the total says that there was a reset.
    """

    __slots__ = ("_wrap", "last", "total")

    def __init__(self, bits: int | None, total: int = 0, last: int | None = None) -> None:
        """`bits` is the width of a counter that wraps; None for one of 64 bits or one that stops at its limit.
        `total` and `last` as kept by an earlier agent; `last` is None before the first reading."""
        self._wrap = 0 if bits is None else 1 << bits
        self.total = total
        self.last = last

    def take(self, raw: int) -> bool:
        """One reading. True where the counter was reset since the one before."""
        last, self.last = self.last, raw
        if last is None:
            self.total += raw
            return False
        moved = raw - last
        if moved < 0:
            around = moved + self._wrap
            if last >= self._wrap or around >= self._wrap // 2:
                self.total += raw
                return True
            moved = around
        self.total += moved
        return False

    def begin_anew(self) -> None:
        """The device behind it is a new one: its next reading counts from 0."""
        self.last = None


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
            match self._kept.pop(key, None):
                case [int(total), int(last)]:
                    known = Extended(bits, total, last)
                case [int(total), None]:
                    known = Extended(bits, total)
                case _:
                    known = Extended(bits)
            self._counters[key] = known
        return known

    def live(self, generation: str) -> None:
        """The device is in this life: if it was in another, its counters have begun anew, which is a reset."""
        if self.generation and generation != self.generation:
            self._kept = {key: [kept[0], None] for key, kept in self._kept.items() if _is_pair(kept)}
            for counter in self._counters.values():
                counter.begin_anew()
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


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], int)


def _counts(found: object) -> dict[str, int]:
    if not isinstance(found, dict):
        return {}
    return {key: value for key, value in found.items() if isinstance(key, str) and isinstance(value, int)}
