"""What a scraper accepts: the format of the exposition, and whether it may be compressed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from paceline_exporters.metrics import Format

# Media type and the version it must have where it names one -> format.
OFFERS: dict[tuple[str, str], Format] = {
    ("application/openmetrics-text", "1.0.0"): "openmetrics",
    ("application/openmetrics-text", "0.0.1"): "openmetrics",
    ("application/openmetrics-text", ""): "openmetrics",
    ("text/plain", "0.0.4"): "text",
    ("text/plain", ""): "text",
    ("text/*", ""): "text",
    ("*/*", ""): "text",
}


@lru_cache(maxsize=64)
def choose_format(accept: str) -> Format:
    """The format that `accept` rates highest: OpenMetrics where both are equal, text where it names neither."""
    rated: dict[Format, float] = {}
    for media, parameters in _items(accept):
        form = OFFERS.get((media, parameters.get("version", "")))
        if form is not None:
            rated[form] = max(rated.get(form, 0.0), _quality(parameters))
    return "openmetrics" if rated.get("openmetrics", 0.0) > 0 and _wins(rated) else "text"


@lru_cache(maxsize=64)
def accepts_gzip(accept_encoding: str) -> bool:
    """Whether gzip is accepted with a quality above 0."""
    rated = {name: _quality(parameters) for name, parameters in _items(accept_encoding)}
    return rated.get("gzip", rated.get("*", 0.0)) > 0


def _wins(rated: dict[Format, float]) -> bool:
    return rated["openmetrics"] >= rated.get("text", 0.0)


def _items(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    for item in header.lower().split(","):
        value, *parameters = (part.strip() for part in item.split(";"))
        yield value, {key.strip(): text.strip(' "') for key, _, text in (p.partition("=") for p in parameters)}


def _quality(parameters: dict[str, str]) -> float:
    try:
        return float(parameters.get("q", "1"))
    except ValueError:
        return 0.0
