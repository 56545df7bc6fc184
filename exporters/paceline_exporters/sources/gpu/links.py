"""Sums over the NVLinks of a GPU. A link that is down may answer no more: it counts with what it said last, also
to a child before this one, or the sum would fall."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BY_LINK: Mapping[str, str] = {"nvlink_errors_total": "nvlink_link_errors_total"}
"""Reading by kind and link -> reading in which the kinds of each link are summed."""


class Links:
    """What each link said last."""

    def __init__(self) -> None:
        self._numbers: dict[str, dict[tuple[str, str], dict[str, float]]] = {}
        """GPU -> name and label of a reading -> by link."""

    def add_up(self, uuid: str, values: dict[str, Any]) -> None:
        """Replace numbers by link by their sum."""
        for name, by_label in list(values.items()):
            for label, by_link in by_label.items() if isinstance(by_label, dict) else ():
                if isinstance(by_link, dict):
                    known = self._numbers.setdefault(uuid, {}).setdefault((name, label), {})
                    known.update(by_link)
                    by_label[label] = sum(known.values())
                    _add(values, name, known)

    def forget(self, uuid: str) -> None:
        """The GPU is lost: its counters begin anew with its reset."""
        self._numbers.pop(uuid, None)

    def clear(self) -> None:
        """The driver is gone: all counters begin anew."""
        self._numbers.clear()


def _add(values: dict[str, Any], name: str, by_link: Mapping[str, float]) -> None:
    if name in BY_LINK:
        sums = values.setdefault(BY_LINK[name], {})
        for link, number in by_link.items():
            sums[link] = sums.get(link, 0) + number
