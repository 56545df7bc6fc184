"""Metric families and their rendering to bytes: Prometheus text 0.0.4 and OpenMetrics 1.0.

A source declares its families once and hands in `Samples`; its `Renderer` turns them into a `Section`, whose
sample lines serve both formats (only the metadata lines differ), and which is compressed at most once per format.
A scrape joins sections. Label strings are built once per series: after that a series costs a look-up and a repr.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, NamedTuple

FamilyType = Literal["counter", "gauge", "info", "histogram"]
Format = Literal["text", "openmetrics"]
Labels = tuple[str, ...]
"""Label values, in the order of the family's label names."""

CONTENT_TYPES: Mapping[Format, str] = {
    "text": "text/plain; version=0.0.4; charset=utf-8",
    "openmetrics": "application/openmetrics-text; version=1.0.0; charset=utf-8",
}
SUFFIXES: Mapping[FamilyType, str] = {"counter": "_total", "info": "_info"}
NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
FORBIDDEN_LABELS = frozenset({"job", "instance", "pid", "le"})
"""Prometheus's own would displace the first two; a pid is a series per process; `le` is the histogram's."""
OTHER_LINES = 3
"""Of a histogram beside those of its bounds: the bucket beyond them, sum and count."""
SLACK = 100
"""Series that are gone and still known, besides as many as there are."""


class FamilyError(ValueError):
    """A family that is declared or owned wrongly: change the source that the text names."""


@dataclass(frozen=True, eq=False)
class Family:
    """One metric family. Compared by identity: a source declares each of its families once, as a constant."""

    name: str
    """As in the text format: counters end in `_total`, info families in `_info`."""
    help: str
    type: FamilyType
    unit: str = ""
    """Base unit (seconds, bytes, ...), which the name then ends in, before `_total`."""
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises FamilyError."""
        if not NAME.match(self.name) or not self.name.endswith(SUFFIXES.get(self.type, "")):
            raise FamilyError(f"family {self.name!r}: not a valid name for a {self.type}")
        if self.unit and not self.stem.endswith(f"_{self.unit}"):
            raise FamilyError(f"family {self.name!r}: its name must end in its unit, {self.unit}")
        wrong = [label for label in self.labels if not NAME.match(label) or label in FORBIDDEN_LABELS]
        if wrong or len(set(self.labels)) != len(self.labels):
            raise FamilyError(f"family {self.name!r}: label names {', '.join(wrong) or 'twice'}")

    @property
    def stem(self) -> str:
        """The name as OpenMetrics declares it: without `_total` or `_info`."""
        return self.name.removesuffix(SUFFIXES.get(self.type, ""))


@dataclass
class Distribution:
    """The value of a histogram series: how many observations were at most each bound, and their sum."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    """Per bound, then beyond the last; not cumulative."""
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


Value = float | None | Distribution


class Samples:
    """Values by family and labels; a series stands in it once by construction. NaN and None mean *unknown*."""

    __slots__ = ("points", "problem")

    def __init__(self) -> None:
        self.points: defaultdict[Family, dict[Labels, Value]] = defaultdict(dict)
        self.problem: Exception | None = None
        """What was missed: these samples are served, and the sample counts as failed."""

    def add(self, family: Family, value: Value, *labels: str) -> None:
        """Set the value of one series."""
        self.points[family][labels] = value


class Section:
    """One source's finished sample: immutable, rendered once, compressed once per format at first need."""

    def __init__(self, bodies: Mapping[Family, bytes], series: int) -> None:
        self._bodies = bodies
        self.series = series
        self._plain: dict[Format, bytes] = {}
        self._deflated: dict[Format, bytes] = {}

    def only(self, families: Container[Family]) -> Section:
        """The same sample, of these families."""
        bodies = {family: body for family, body in self._bodies.items() if family in families}
        return Section(bodies, sum(body.count(b"\n") for body in bodies.values()))

    def plain(self, form: Format) -> bytes:
        """Metadata and sample lines in one of the formats."""
        if form not in self._plain:
            chunks = (part for family, body in self._bodies.items() for part in (_metadata(family, form), body))
            self._plain[form] = b"".join(chunks)
        return self._plain[form]

    def deflated(self, form: Format) -> bytes:
        """`plain` as raw deflate blocks that end on a byte and refer to nothing before: they can be joined."""
        if form not in self._deflated:
            # Level 1: an eighth of the text at a third of level 6's time.
            squeeze = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
            self._deflated[form] = squeeze.compress(self.plain(form)) + squeeze.flush(zlib.Z_FULL_FLUSH)
        return self._deflated[form]


class _Body(NamedTuple):
    """A family as it was rendered last."""

    points: Mapping[Labels, Value] | None
    """None when some found no room: they are to be counted, or to find room, the next time."""
    text: bytes
    series: int


class Renderer:
    """Renders one source's samples within its budget of series. A family in which nothing changed keeps its text,
    and a sample in which nothing did keeps its section, compressed as it is."""

    def __init__(self, families: Iterable[Family], budget: int) -> None:
        self._prefixes: dict[Family, dict[Labels, str]] = {family: {} for family in families}
        self._costs: dict[Family, int] = {}
        """Lines of a series, of families where these are several: histograms."""
        self._bodies: dict[Family, _Body] = {}
        self._admitted = 0
        """Lines of all series whose label text is kept."""
        self._swept = False
        self._budget = budget
        self._last: tuple[Samples | None, Section] = (None, Section({}, 0))
        self.dropped = 0
        """Series that found no room, summed over samples: they come last, those already served stay. A histogram
        is as many as it has lines, here and in the budget."""

    @property
    def known(self) -> int:
        """Series whose label text is kept."""
        return sum(map(len, self._prefixes.values()))

    def render(self, samples: Samples) -> Section:
        """The samples as a section; the same object gives the same section. Raises FamilyError for a family
        that the source did not declare."""
        if samples is not self._last[0]:
            self._last = (samples, self._render(samples))
        return self._last[1]

    def _render(self, samples: Samples) -> Section:
        undeclared = [family.name for family in samples.points if family not in self._prefixes]
        if undeclared:
            raise FamilyError(f"sampled but not declared by its source: {', '.join(undeclared)}")
        self._swept = False
        if self._admitted > 2 * sum(map(self._cost_of, samples.points.items())) + SLACK:
            self._forget(samples)
        before = self._bodies
        self._bodies = {
            family: self._body(family, points, samples, before.get(family))
            for family, points in samples.points.items()
        }
        if self._bodies.keys() == before.keys() and all(
            body is before[family] for family, body in self._bodies.items()
        ):
            return self._last[1]
        texts = {family: body.text for family, body in self._bodies.items() if body.text}
        return Section(texts, sum(body.series for body in self._bodies.values()))

    def _body(
        self, family: Family, points: Mapping[Labels, Value], samples: Samples, before: _Body | None
    ) -> _Body:
        # A distribution may be the same object with more in it.
        if before is not None and before.points == points and family.type != "histogram":
            return before
        dropped = self.dropped
        lines = self._lines(family, points, samples)
        series = len(lines)
        text = "\n".join([*lines, ""]).encode() if lines else b""
        return _Body(points if dropped == self.dropped else None, text, series)

    def _lines(self, family: Family, points: Mapping[Labels, Value], samples: Samples) -> list[str]:
        prefixes = self._prefixes[family]
        lines: list[str] = []
        for labels, value in points.items():
            prefix = prefixes.get(labels)
            if prefix is None:
                prefix = self._admit(family, labels, value, samples)
                if prefix is None:
                    continue
            if value is None or value != value:
                continue
            if isinstance(value, Distribution):
                lines += _histogram(family, labels, value)
            else:
                lines.append(f"{prefix}{value!r}" if value - value == 0 else prefix + number(value))
        return lines

    def _admit(self, family: Family, labels: Labels, value: Value, samples: Samples) -> str | None:
        if isinstance(value, Distribution):
            self._costs[family] = len(value.bounds) + OTHER_LINES
        cost = self._costs.get(family, 1)
        if self._admitted + cost > self._budget and not self._swept:
            self._forget(samples)
        if self._admitted + cost > self._budget:
            self.dropped += cost
            return None
        self._admitted += cost
        prefix = self._prefixes[family][labels] = f"{family.name}{label_text(family.labels, labels)} "
        return prefix

    def _cost_of(self, told: tuple[Family, Mapping[Labels, object]]) -> int:
        family, series = told
        return len(series) * self._costs.get(family, 1)

    def _forget(self, samples: Samples) -> None:
        """Give back the room of series that are gone: when there is none left, and when most are."""
        self._swept = True
        for family, prefixes in self._prefixes.items():
            for labels in prefixes.keys() - samples.points.get(family, {}).keys():
                del prefixes[labels]
        self._admitted = sum(map(self._cost_of, self._prefixes.items()))


def exposition(sections: Sequence[Section], form: Format) -> bytes:
    """A whole scrape, in the order given."""
    return b"".join([*(section.plain(form) for section in sections), _ENDS[form]])


def exposition_gzip(sections: Sequence[Section], form: Format) -> bytes:
    """The same as one gzip member, of blocks compressed before (not every client reads several members)."""
    plain = exposition(sections, form)
    trailer = struct.pack("<II", zlib.crc32(plain), len(plain) & 0xFFFFFFFF)
    return b"".join(
        [_GZIP_HEAD, *(section.deflated(form) for section in sections), _DEFLATED_ENDS[form], trailer]
    )


def check_owners(owners: Iterable[tuple[str, Iterable[Family]]]) -> None:
    """Each family name belongs to exactly one source. Raises FamilyError, which names both."""
    owner_of: dict[str, str] = {}
    for owner, families in owners:
        for family in families:
            other = owner_of.setdefault(family.stem, owner)
            if other != owner or owner_of.setdefault(family.name, owner) != owner:
                raise FamilyError(f"family {family.name!r} is claimed by two sources: {other} and {owner}")


def number(value: float) -> str:
    """A number as both formats want it."""
    if value - value == 0:
        return repr(value)
    return "NaN" if value != value else ("+Inf" if value > 0 else "-Inf")


def label_text(names: Sequence[str], values: Labels) -> str:
    """`{name="value",...}`, escaped; empty values are left out, as they mean the same as no label."""
    pairs = [f'{name}="{escape(value)}"' for name, value in zip(names, values, strict=True) if value]
    return "{" + ",".join(pairs) + "}" if pairs else ""


def escape(value: str) -> str:
    """A label value between quotes; what is not Unicode (lone surrogates from file names) becomes `?`."""
    clean = value.encode("utf-8", "replace").decode()
    return clean.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _histogram(family: Family, labels: Labels, value: Distribution) -> list[str]:
    names, lines, total = (*family.labels, "le"), [], 0
    for bound, count in zip((*value.bounds, math.inf), value.counts, strict=True):
        total += count
        lines.append(f"{family.name}_bucket{label_text(names, (*labels, number(float(bound))))} {total}")
    own = label_text(family.labels, labels)
    return [*lines, f"{family.name}_sum{own} {number(value.sum)}", f"{family.name}_count{own} {total}"]


@cache
def _metadata(family: Family, form: Format) -> bytes:
    text = family.help.replace("\\", "\\\\").replace("\n", "\\n")
    if form == "text":
        kind = "gauge" if family.type == "info" else family.type
        return f"# HELP {family.name} {text}\n# TYPE {family.name} {kind}\n".encode()
    unit = f"# UNIT {family.stem} {family.unit}\n" if family.unit else ""
    text = text.replace('"', '\\"')
    return f"# HELP {family.stem} {text}\n# TYPE {family.stem} {family.type}\n{unit}".encode()


def _finish(data: bytes) -> bytes:
    squeeze = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return squeeze.compress(data) + squeeze.flush()


_ENDS: Mapping[Format, bytes] = {"text": b"", "openmetrics": b"# EOF\n"}
_DEFLATED_ENDS: Mapping[Format, bytes] = {form: _finish(end) for form, end in _ENDS.items()}
_GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
