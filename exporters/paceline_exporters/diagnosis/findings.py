"""What a diagnosis says, as agent and tuner answer it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

FindingKind = Literal["straggler", "communication", "hang", "regression"]
Cause = Literal[
    "data",
    "compute",
    "longer_batches",
    "communication",
    "throttled_gpu",
    "power_capped_gpu",
    "degraded_nic",
    "congested_network",
    "noisy_neighbour",
    "unknown",
]
VerdictKind = Literal[
    "data_bound",
    "compute_bound",
    "communication_bound",
    "other_bound",
    "straggler",
    "throttled",
    "hung",
    "healthy",
    "unknown",
]


@dataclass(frozen=True)
class Finding:
    """One thing that makes a run slow, or stands still."""

    kind: FindingKind
    cause: Cause
    since_step: int
    """First optimizer step that it touched, as estimated."""
    found_step: int
    """Step whose record settled it."""
    rank: int | None = None
    """The rank to look at; None where the timings name none."""
    node: str = ""
    phase: str = ""
    """Phase of the step that grew: data_wait, forward, backward, optimizer, other."""
    share: float = 0.0
    """What it costs, as a share of the step's time, 0 to 1."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """What it rests on, in base units."""

    def encode(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class Verdict:
    """Why a run's step takes as long as it does."""

    kind: VerdictKind
    summary: str
    """One sentence for people, with its numbers."""
    advice: str
    """What to do about it; one or two sentences."""
    knobs: Sequence[str] = ()
    """Names that the tuner should look at, as in a study's search space."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    findings: Sequence[Finding] = ()

    def encode(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)
