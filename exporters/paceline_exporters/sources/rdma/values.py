"""What stands in a port's attributes, as numbers (Documentation/ABI/stable/sysfs-class-infiniband)."""

from __future__ import annotations

import math

BYTES_PER_GIGABIT = 125_000_000
ABSENT = b"N/A"
"""`N/A (no PMA)`: the port has no PerfMgmt agent to ask. No fault."""


def state_id(text: bytes) -> int:
    """`4: ACTIVE` -> 4. Raises ValueError."""
    return int(text.partition(b":")[0])


def rate_bytes_per_second(text: bytes) -> float:
    """`400 Gb/sec (4X NDR)` -> 5e10. The unit is gigabits, however spelt (`0 GB/sec`). Raises ValueError."""
    value = float(text.strip().partition(b" ")[0])
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"no rate: {text!r}")
    return value * BYTES_PER_GIGABIT


def lifespan_seconds(text: bytes) -> float:
    """`10` -> 0.01. Raises ValueError."""
    return int(text) / 1000
