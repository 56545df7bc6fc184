"""Metric families as a table of Markdown, for the pages that list them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .metrics import Family


def table(families: Iterable[Family]) -> str:
    """A row per family, with the line's end of the last."""
    return "\n".join(("| metric | type | labels | meaning |", "|---|---|---|---|", *_rows(families), ""))


def _rows(families: Iterable[Family]) -> Iterator[str]:
    for family in families:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        yield f"| `{family.name}` | {family.type} | {labels} | {family.help} |"
