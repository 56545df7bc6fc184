"""Numbers as people read them, by Grafana's names of units; as far as our panels use them."""

from __future__ import annotations

import math

UNKNOWN = "n/a"
_THOUSANDS = (("", 1.0), (" K", 1e3), (" Mil", 1e6), (" Bil", 1e9))
_BINARY = (("B", 1.0), ("KiB", 2.0**10), ("MiB", 2.0**20), ("GiB", 2.0**30), ("TiB", 2.0**40))
_HERTZ = (("Hz", 1.0), ("kHz", 1e3), ("MHz", 1e6), ("GHz", 1e9))
_WATTS = (("mW", 1e-3), ("W", 1.0), ("kW", 1e3), ("MW", 1e6))
_BYTES_PER_SECOND = (("B/s", 1.0), ("kB/s", 1e3), ("MB/s", 1e6), ("GB/s", 1e9))
_SECONDS = (("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0))
_SCALES = {
    "s": _SECONDS,
    "bytes": _BINARY,
    "Bps": _BYTES_PER_SECOND,
    "short": _THOUSANDS,
    "hertz": _HERTZ,
    "watt": _WATTS,
}


def shown(value: float | None, unit: str) -> str:
    """The value with its unit; None and NaN are unknown."""
    if value is None or math.isnan(value):
        return UNKNOWN
    if unit.startswith("suffix:"):
        return f"{_digits(value)}{unit.removeprefix('suffix:')}"
    if unit == "percentunit":
        return f"{_digits(value * 100)} %"
    if unit == "celsius":
        return f"{_digits(value)} °C"
    scales = _SCALES.get(unit)
    if scales is None or value == 0:
        return _digits(value) + (f" {scales[-1][0]}" if unit == "s" and scales else "")
    name, size = max(
        (scale for scale in scales if scale[1] <= abs(value)), key=lambda scale: scale[1], default=scales[0]
    )
    return f"{_digits(value / size)}{'' if unit == 'short' else ' '}{name}"


def on_axis(value: float, unit: str) -> str:
    """As `shown`, without what the legend says anyway."""
    return _digits(value) if unit.startswith("suffix:") else shown(value, unit)


def round_step(extent: float, unit: str) -> float:
    """A round number of the unit that goes into `extent` four times or little more."""
    base = 2.0**30 if unit == "bytes" and extent >= 2**30 else 1.0
    scale = 10.0 ** math.floor(math.log10(extent / base)) * base
    return next(scale * share for share in (0.2, 0.25, 0.5, 1.0, 2.0, 2.5) if extent / (scale * share) <= 4.5)


def _digits(value: float) -> str:
    """Three significant digits, whole numbers in full."""
    if value == round(value) or abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    if abs(value) < 0.001:
        return f"{value:.3g}"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
