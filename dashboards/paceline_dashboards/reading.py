"""A dashboard read back from its JSON: what it asks of Prometheus, with the variables filled in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@dataclass(frozen=True)
class Asked:
    """One query of a panel."""

    panel: Mapping[str, Any]
    """As in the JSON."""
    ref: str
    expression: str
    legend: str

    @property
    def title(self) -> str:
        """Of the panel; two panels of one dashboard may share it."""
        return str(self.panel["title"])


def panels(dashboard: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The panels that show data, in order."""
    yield from (panel for panel in dashboard["panels"] if panel["type"] != "row")


def asked(dashboard: Mapping[str, Any]) -> Iterator[Asked]:
    """Every query of every panel."""
    for panel in panels(dashboard):
        for target in panel["targets"]:
            yield Asked(panel, target["refId"], target["expr"], target["legendFormat"])


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with `$name` replaced; raises KeyError for a variable without a value."""
    return _VARIABLE.sub(lambda found: values[found[1] or found[2]], text)
