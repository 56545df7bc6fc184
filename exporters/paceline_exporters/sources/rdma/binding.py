"""A counter file, the series it goes to, and what stood in it last."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field

from ...metrics import Family, Labels, Value
from ..extend import Extended
from .counters import Meaning
from .tree import Attribute
from .values import ABSENT, count

Points = MutableMapping[Family, dict[Labels, Value]]


@dataclass(slots=True, eq=False)
class Binding:
    """Most files say the same for hours, so a series is touched only when its file says something else."""

    attribute: Attribute
    place: Labels
    """Device and port."""
    file: str
    means: Meaning
    labels: Labels
    extended: Extended | None
    """None for a gauge."""
    compat: Family | None
    compat_factor: int
    saturated: bool = False
    value: int = 0
    """As served, before parts are summed."""
    text: bytes | None = None
    """What stood in the file last; None while it is unknown."""
    parts: list[Binding] = field(default_factory=list)
    """All files that the series is the sum of: this one, as a rule."""

    def __post_init__(self) -> None:
        self.parts.append(self)

    def read(self, points: Points) -> bool:
        """Look once. True where the counter was reset since the last time. Raises OSError, and ValueError where
        there is no number."""
        text = self.attribute.read()
        return text != self.text and self._take(text, points)

    def forget(self, points: Points) -> None:
        """The file cannot be read: its series is absent until it can."""
        self.text = None
        self.saturated = False
        points[self.means.family].pop(self.labels, None)
        if self.compat is not None:
            points[self.compat].pop(self.place, None)

    def close(self, points: Points) -> None:
        """The file is gone."""
        self.forget(points)
        self.parts.remove(self)
        self.attribute.close()

    def _take(self, text: bytes, points: Points) -> bool:
        if text.startswith(ABSENT):
            self.forget(points)
            return False
        raw = count(text)
        reset = self.extended is not None and self.extended.take(raw)
        self.text = text
        self.value = (raw if self.extended is None else self.extended.total) * self.means.factor
        self.saturated = raw == self.means.limit
        if all(part.text is not None for part in self.parts):
            points[self.means.family][self.labels] = sum(part.value for part in self.parts)
        if self.compat is not None:
            points[self.compat][self.place] = raw * self.compat_factor
        return reset
