"""GPUs and NICs of a node, from its agent's `/metrics`: what the runs' own pages do not say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

# Attribute of `Gpu` -> family, and the label and value that pick the series of a GPU that has several.
GAUGES: Mapping[str, tuple[str, str, str]] = {
    "utilization": ("paceline_gpu_utilization_ratio", "", ""),
    "power_watts": ("paceline_gpu_power_watts", "", ""),
    "temperature_celsius": ("paceline_gpu_temperature_celsius", "sensor", "gpu"),
    "memory_used_bytes": ("paceline_gpu_memory_used_bytes", "", ""),
    "memory_total_bytes": ("paceline_gpu_memory_total_bytes", "", ""),
}
RANK_GPU = "paceline_rank_gpu_info"
# Received and sent; where a node has RDMA ports, they carry what counts.
RDMA = ("paceline_rdma_port_receive_bytes_total", "paceline_rdma_port_transmit_bytes_total")
HOST = ("paceline_host_network_receive_bytes_total", "paceline_host_network_transmit_bytes_total")
FAMILIES = (*(family for family, _, _ in GAUGES.values()), RANK_GPU, *RDMA, *HOST)
PATH = "/metrics?" + urlencode([("name[]", family) for family in FAMILIES])

_LINE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")


@dataclass
class Gpu:
    """The latest of one GPU; None where unknown."""

    utilization: float | None = None
    power_watts: float | None = None
    temperature_celsius: float | None = None
    memory_used_bytes: float | None = None
    memory_total_bytes: float | None = None


@dataclass
class Devices:
    """Of one node at one time."""

    at: float
    """Monotonic, seconds."""
    gpus: dict[str, Gpu] = field(default_factory=dict)
    """By UUID."""
    of_rank: dict[tuple[str, int], str] = field(default_factory=dict)
    """Run and rank -> UUID of its GPU."""
    rdma: bool = False
    """The bytes are those of RDMA ports, else of network devices."""
    received: float = 0.0
    sent: float = 0.0
    """Bytes since whenever the counters began."""


def devices(text: str, at: float) -> Devices:
    """From a scrape in the text format."""
    found = Devices(at)
    gauges = {family: (name, label, value) for name, (family, label, value) in GAUGES.items()}
    totals = dict.fromkeys((*RDMA, *HOST), 0.0)
    for family, labels, value in series(text):
        if family in gauges:
            name, label, wanted = gauges[family]
            if not label or labels.get(label) == wanted:
                setattr(found.gpus.setdefault(labels.get("uuid", ""), Gpu()), name, value)
        elif family == RANK_GPU and labels.get("rank", "").isdecimal():
            found.of_rank[labels.get("run_id", ""), int(labels["rank"])] = labels.get("uuid", "")
        elif family in totals and labels.get("device") != "lo":
            totals[family] += value
            found.rdma |= family in RDMA
    found.received, found.sent = (totals[family] for family in (RDMA if found.rdma else HOST))
    return found


def series(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Family, labels and value of each sample line of the text format; other lines are passed over."""
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None or line.startswith("#"):
            continue
        labels = {name: _ESCAPED.sub(_unescape, value) for name, value in _LABEL.findall(match[2] or "")}
        try:
            yield match[1], labels, float(match[3])
        except ValueError:
            continue


def _unescape(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]
