"""Durations and shares as people write them."""

from __future__ import annotations

import re
from typing import Any

from .legal import is_number

UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)\s*([dhms])\s*)")


def seconds(value: Any) -> float:
    """Seconds of 90, "90s", "1h30m" or "2h"; ValueError says what was expected."""
    total = float(value) if is_number(value) else _sum(value)
    if not 0 < total < float("inf"):
        raise ValueError(f"expected a duration such as 90s, 5m or 2h, got {value!r}")
    return total


def _sum(value: Any) -> float:
    text = value.strip().lower() if isinstance(value, str) else ""
    parts = DURATION.findall(text)
    return sum(float(number) * UNITS[unit] for number, unit in parts) if not DURATION.sub("", text) else 0.0


def share(value: Any) -> float:
    """A ratio between 0 and 1 of "5%" or 0.05; ValueError says what was expected."""
    text = value.strip() if isinstance(value, str) else ""
    try:
        ratio = float(value) if is_number(value) else float(text.removesuffix("%")) / 100
    except ValueError:
        ratio = 0.0
    if not 0 < ratio < 1 or (text and not text.endswith("%")):
        raise ValueError(f"expected a share such as 5% or 0.05, got {value!r}")
    return ratio
