"""What a knob may be set to: a test and the words for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Legal:
    """The values that one knob can take."""

    text: str
    """After "expected": `a whole number from 1 to 64`."""
    accepts: Callable[[Any], bool]
    number: Literal["int", "float", "either", None] = None
    """What a range consists of; "either": as its ends are written; None: a range makes no sense."""

    def complaint(self, value: Any) -> str | None:
        """What is wrong with `value`, or None."""
        return None if self.accepts(value) else f"expected {self.text}, got {value!r}"


def is_number(value: Any) -> bool:
    """An int or float, not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def whole(low: int, high: int | None = None) -> Legal:
    """A whole number in a range, both ends included."""
    text = f"a whole number from {low} to {high}" if high is not None else f"a whole number of at least {low}"

    def accepts(value: Any) -> bool:
        return type(value) is int and value >= low and (high is None or value <= high)

    return Legal(text, accepts, "int")


def number(
    low: float, high: float | None = None, above: bool = False, kind: Literal["float", "either"] = "float"
) -> Legal:
    """A number in a range; `above`: low itself is not in it."""
    start = f"above {low:g}" if above else f"of at least {low:g}"
    text = f"a number {start}" + (f" and at most {high:g}" if high is not None else "")

    def accepts(value: Any) -> bool:
        return is_number(value) and (value > low if above else value >= low) and (high is None or value <= high)

    return Legal(text, accepts, kind)


def words(*options: str) -> Legal:
    """One of a few words."""
    return Legal(f"one of {', '.join(options)}", lambda value: value in options)


def power_of_two(low: int, high: int) -> Legal:
    """A power of two in a range, both ends included."""

    def accepts(value: Any) -> bool:
        return type(value) is int and low <= value <= high and value & (value - 1) == 0

    return Legal(f"a power of two from {low} to {high}", accepts)


def numbers(*options: int) -> Legal:
    """One of a few whole numbers."""
    return Legal(f"one of {', '.join(map(str, options))}", lambda value: type(value) is int and value in options)


FLAG = Legal("true or false", lambda value: isinstance(value, bool))
TEXT = Legal("text", lambda value: isinstance(value, str) and value != "")
MAPPING = Legal("a mapping or null", lambda value: value is None or isinstance(value, dict))
ANY = Legal("any value that the job takes", lambda value: True, "either")
