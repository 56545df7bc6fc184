"""What this node's sources saw in the last seconds, as evidence for its ranks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from paceline_exporters.diagnosis.evidence import Evidence
from paceline_exporters.metrics import Family, Labels

from ..sampler import Sampler

WINDOW_SECONDS = 10.0
"""Rates are over so long, or over two samples of a source with a longer period."""
LOOK_SECONDS = 2.0
"""Between looks at the samples."""

Take = Literal["rate", "value"]


@dataclass(frozen=True)
class Of:
    """Series of one family."""

    family: str
    label: str = ""
    """Only those whose label of this name has one of `values`; empty: all."""
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """Series as one number, for each GPU where their first label is its UUID, else for the node."""

    name: str
    """Key of `paceline_exporters.diagnosis.evidence.MEANING`."""
    series: tuple[Of, ...]
    take: Take = "rate"
    combine: Callable[[Sequence[float]], float] = max
    per: Of | None = None
    """What the number is divided by, as it is now."""


_SLOWED = ("thermal", "sw_thermal", "hw_thermal", "hw_power_brake")
"""Of the reasons that the gpu source tells apart; before driver 570 `thermal` is all there is of them."""
_THROTTLE = "paceline_gpu_throttle_seconds_total"
_PORT_ERRORS = (
    "link_downed",
    "symbol_errors",
    "link_error_recoveries",
    "receive_errors",
    "transmit_discards",
    "receive_out_of_sequence",
    "receive_sequence_naks",
    "ack_timeouts",
    "retransmit_packets",
)
_CONGESTION = ("cnp_sent_packets", "cnp_handled_packets", "ecn_marked_packets")
_TRAFFIC = ("transmit_bytes", "receive_bytes")


def _port(*names: str) -> tuple[Of, ...]:
    return tuple(Of(f"paceline_rdma_port_{name}_total") for name in names)


def _first_less_others(numbers: Sequence[float]) -> float:
    return max(0.0, numbers[0] - sum(numbers[1:]))


def _pressure(resource: str) -> Rule:
    of = Of("paceline_host_pressure_seconds_total", "resource", (resource,))
    return Rule(f"{resource}_pressure_ratio", (of,))


RULES: Sequence[Rule] = (
    Rule("gpu_throttled_ratio", (Of(_THROTTLE, "reason", _SLOWED),)),
    Rule("gpu_power_capped_ratio", (Of(_THROTTLE, "reason", ("sw_power_cap",)),)),
    Rule("gpu_utilization_ratio", (Of("paceline_gpu_utilization_ratio"),), "value"),
    Rule(
        "gpu_power_ratio",
        (Of("paceline_gpu_power_watts"),),
        "value",
        per=Of("paceline_gpu_power_limit_watts", "limit", ("enforced",)),
    ),
    Rule("gpu_foreign_processes", (Of("paceline_gpu_foreign_processes"),), "value"),
    Rule("nic_errors_per_second", _port(*_PORT_ERRORS), combine=sum),
    Rule("nic_congestion_per_second", _port(*_CONGESTION), combine=sum),
    Rule("nic_bytes_per_second", _port(*_TRAFFIC), combine=sum),
    Rule(
        "nic_pause_ratio",
        (
            Of("paceline_nic_receive_pfc_pause_seconds_total"),
            Of("paceline_nic_receive_pause_seconds_total"),
        ),
    ),
    Rule(
        "tcp_retransmits_per_second",
        (
            Of("paceline_host_tcp_retransmit_segments_total"),
            Of("paceline_host_tcp_spurious_retransmit_segments_total"),
        ),
        combine=_first_less_others,
    ),
    *(_pressure(resource) for resource in ("cpu", "memory", "io")),
    Rule(
        "cpu_steal_ratio",
        (Of("paceline_host_cpu_seconds_total", "mode", ("steal",)),),
        per=Of("paceline_host_cpus"),
    ),
)
PORT_ACTIVE = Of("paceline_rdma_port_active")

Series = tuple[str, Labels]
Numbers = dict[str, list[float]]
"""By the UUID of a GPU; empty: the node."""


class NodeEvidence:
    """Looks at what the samplers sampled last; not thread-safe."""

    def __init__(self, samplers: Sequence[Sampler], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._families = {
            family.name: (sampler, family) for sampler in samplers for family in sampler.source.families
        }
        self._seen: dict[Series, deque[tuple[float, float]]] = {}
        self._were_active: set[Labels] = set()
        self._node: dict[str, float] = {}
        self._gpus: dict[str, dict[str, float]] = {}
        self._looked_at: float | None = None

    def of(self, uuid: str) -> Evidence:
        """What the GPU with this UUID and the node saw lately; an empty UUID is the node alone."""
        now = self._clock()
        if self._looked_at is None or now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self._look()
        return {**self._node, **self._gpus.get(uuid, {})}

    def _look(self) -> None:
        before, self._seen = self._seen, {}
        self._node, self._gpus = {}, {}
        for rule in RULES:
            below = {} if rule.per is None else self._numbers((rule.per,), "value", before)
            for uuid, numbers in self._numbers(rule.series, rule.take, before).items():
                number = float(rule.combine(numbers))
                if rule.per is not None:
                    of = max(below.get(uuid, [0.0]))
                    if of <= 0.0:
                        continue
                    number /= of
                (self._gpus.setdefault(uuid, {}) if uuid else self._node)[rule.name] = number
        self._node |= self._ports_down()

    def _numbers(
        self, series: Sequence[Of], take: Take, before: dict[Series, deque[tuple[float, float]]]
    ) -> Numbers:
        found: Numbers = {}
        for of in series:
            for family, labels, at, value in self._points(of):
                number = value if take == "value" else self._rate((family.name, labels), at, value, before)
                if number is not None:
                    uuid = labels[0] if family.labels[:1] == ("uuid",) else ""
                    found.setdefault(uuid, []).append(number)
        return found

    def _points(self, of: Of) -> Iterator[tuple[Family, Labels, float, float]]:
        owner = self._families.get(of.family)
        if owner is None:
            return
        sampler, family = owner
        finished = sampler.finished
        if finished is None or sampler.fresh() is None:
            return
        place = family.labels.index(of.label) if of.label else None
        for labels, value in finished.samples.points.get(family, {}).items():
            if isinstance(value, int | float) and (place is None or labels[place] in of.values):
                yield family, labels, finished.at, float(value)

    def _rate(
        self, series: Series, at: float, value: float, before: dict[Series, deque[tuple[float, float]]]
    ) -> float | None:
        """Per second over the window; None while there is one sample only, and after a reset."""
        seen = self._seen[series] = before.get(series) or deque()
        if seen and value < seen[-1][1]:
            seen.clear()
        if not seen or at > seen[-1][0]:
            seen.append((at, value))
        while len(seen) > 2 and at - seen[1][0] >= WINDOW_SECONDS:
            seen.popleft()
        (first, low), (last, high) = seen[0], seen[-1]
        return (high - low) / (last - first) if last > first else None

    def _ports_down(self) -> dict[str, float]:
        """Ports that were active once under this agent's eyes and are not now."""
        ports = {labels: value >= 1.0 for _, labels, _, value in self._points(PORT_ACTIVE)}
        self._were_active |= {labels for labels, active in ports.items() if active}
        down = sum(not active and labels in self._were_active for labels, active in ports.items())
        return {"ports_down": float(down)} if ports else {}
