"""What is needed of Prometheus's HTTP API."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Series:
    """One series of an answer."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]
    """Unix time and value."""


class Prometheus:
    """A Prometheus by its address."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def get(self, path: str, **parameters: str) -> Any:
        """The answer's data; raises OSError where there is none (urllib's HTTPError is one)."""
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as answer:
            return json.load(answer)["data"]

    def range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        """The expression's series from `start` to `end` (Unix time), every `step` seconds."""
        data = self.get(
            "query_range", query=expression, start=f"{start:.3f}", end=f"{end:.3f}", step=f"{step:.3f}"
        )
        return [
            Series(one["metric"], [(float(at), float(value)) for at, value in one["values"]])
            for one in data["result"]
        ]

    def values(self, label: str, series: str) -> list[str]:
        """All values of a label on a metric's series."""
        return list(self.get(f"label/{label}/values", **{"match[]": series}))
