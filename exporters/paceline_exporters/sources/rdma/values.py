"""What stands in a port's attributes, as numbers (Documentation/ABI/stable/sysfs-class-infiniband)."""

from __future__ import annotations

import math

BYTES_PER_GIGABIT = 125_000_000
ABSENT = b"N/A"
"""`N/A (no PMA)`: the port has no PerfMgmt agent to ask. No fault."""
MOST = 2**64 - 1
"""What the widest counter can show."""
STATES, PHYSICAL_STATES = range(1, 6), range(1, 8)
"""Those there are: of a port, and of its link."""


def count(text: bytes) -> int:
    """`1234` -> 1234: digits, as the kernel prints an unsigned number. Raises ValueError."""
    digits = text.strip()
    if not digits.isdigit() or len(digits) > 20 or int(digits) > MOST:
        raise ValueError(f"no counter: {text!r}")
    return int(digits)


def state_id(text: bytes) -> int | None:
    """`4: ACTIVE` -> 4; None for a number that names no state. Raises ValueError."""
    return _known(text, STATES)


def physical_state_id(text: bytes) -> int | None:
    """`5: LinkUp` -> 5; None for a number that names no state. Raises ValueError."""
    return _known(text, PHYSICAL_STATES)


def rate_bytes_per_second(text: bytes) -> float:
    """`400 Gb/sec (4X NDR)` -> 5e10. The unit is gigabits, however spelt (`0 GB/sec`). Raises ValueError."""
    rate = float(text.strip().partition(b" ")[0]) * BYTES_PER_GIGABIT
    if not math.isfinite(rate) or rate < 0:
        raise ValueError(f"no rate: {text!r}")
    return rate


def lifespan_seconds(text: bytes) -> float:
    """`10` -> 0.01. Raises ValueError."""
    return count(text) / 1000


def _known(text: bytes, states: range) -> int | None:
    number = count(text.partition(b":")[0])
    return number if number in states else None
