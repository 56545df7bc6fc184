"""What a scraper accepts: the format of the exposition, and whether it may be compressed (RFC 9110, 12.5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from paceline_exporters.metrics import Format

# Format -> media type, and the versions that a range may name.
OFFERS: dict[Format, tuple[str, tuple[str, ...]]] = {
    "openmetrics": ("application/openmetrics-text", ("", "1.0.0", "0.0.1")),
    "text": ("text/plain", ("", "0.0.4")),
}
NOTHING = (0, 0.0)
"""How specific the deciding range is, and its quality, where no range matches."""


def choose_format(accept: Sequence[str]) -> Format:
    """The format that the Accept lines rate highest. Where both are equal OpenMetrics, unless only `*/*` speaks
    for it; text where they name neither."""
    return _choose(", ".join(accept))


def accepts_gzip(accept_encoding: Sequence[str]) -> bool:
    """Whether gzip is accepted with a quality above 0."""
    return _gzip(", ".join(accept_encoding))


@lru_cache(maxsize=64)
def _choose(accept: str) -> Format:
    ranges = list(_items(accept))
    (specific, openmetrics), (_, text) = (_rating(ranges, *OFFERS[form]) for form in ("openmetrics", "text"))
    wins = openmetrics > text or (openmetrics == text and specific > 0)
    return "openmetrics" if openmetrics > 0 and wins else "text"


@lru_cache(maxsize=64)
def _gzip(accept_encoding: str) -> bool:
    rated = {name: _quality(parameters) for name, parameters in _items(accept_encoding)}
    return rated.get("gzip", rated.get("*", 0.0)) > 0


def _rating(
    ranges: Sequence[tuple[str, dict[str, str]]], media: str, versions: tuple[str, ...]
) -> tuple[int, float]:
    """Of the most specific range that matches; of several, the highest quality."""
    matched = [NOTHING]
    for name, parameters in ranges:
        version = parameters.get("version", "")
        if name == media and version in versions:
            matched.append((3 if version else 2, _quality(parameters)))
        elif name == f"{media.partition('/')[0]}/*":
            matched.append((1, _quality(parameters)))
        elif name == "*/*":
            matched.append((0, _quality(parameters)))
    return max(matched)


def _items(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    for item in header.lower().split(","):
        value, *parameters = (part.strip() for part in item.split(";"))
        yield value, {key.strip(): text.strip(' "') for key, _, text in (p.partition("=") for p in parameters)}


def _quality(parameters: dict[str, str]) -> float:
    """0 for one that is none."""
    try:
        quality = float(parameters.get("q", "1"))
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0
