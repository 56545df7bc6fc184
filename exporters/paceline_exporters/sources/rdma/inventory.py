"""Which ports there should be: all that were seen, until they are known to be gone for good."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

DAY = 24 * 3600.0
FORGET_SECONDS = 7 * DAY
"""A port of a physical function that is gone is shown as down for so long, over reboots of the node too."""
FORGET_REMOVABLE_SECONDS = 600.0
"""The same of a virtual function, subfunction or software device: these come and go as somebody wants."""


@dataclass(frozen=True)
class Known:
    """A port that was seen."""

    device: str
    port: str
    pci: str
    removable: bool
    seen: float
    """Unix time, seconds."""


class Inventory:
    """Remembers ports. One that has another name now (same PCI function and port, as after a renaming by udev) is
    forgotten at once under the old one. The second port of a bond, which merges into the first one's device, is
    shown as gone until it is forgotten."""

    def __init__(self, document: Any = None) -> None:
        """From what `document` gave; anything else in it is passed over."""
        found = document if isinstance(document, list) else []
        self._known = {(known.device, known.port): known for known in map(_known, found) if known is not None}

    def see(self, present: Iterable[Known], now: float) -> None:
        """These ports are there at this Unix time."""
        found = {(known.device, known.port): known for known in present}
        places = {(known.pci, known.port) for known in found.values() if known.pci and not known.removable}
        kept = {
            name: known
            for name, known in self._known.items()
            if name not in found and not _is_forgotten(known, now) and (known.pci, known.port) not in places
        }
        self._known = kept | found

    def __iter__(self) -> Iterator[Known]:
        return iter(self._known.values())

    def document(self) -> list[dict[str, Any]]:
        """As JSON."""
        return [asdict(known) for known in self]


def _is_forgotten(known: Known, now: float) -> bool:
    return now - known.seen > (FORGET_REMOVABLE_SECONDS if known.removable else FORGET_SECONDS)


def _known(found: Any) -> Known | None:
    match found:
        case {
            "device": str(device),
            "port": str(port),
            "pci": str(pci),
            "removable": bool(removable),
            "seen": int() | float() as seen,
        } if 0 <= seen < math.inf:
            return Known(device, port, pci, removable, seen)
    return None
