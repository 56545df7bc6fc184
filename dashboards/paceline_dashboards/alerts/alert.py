"""What an alert is, and how its text names a device and whose it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

PAGE = "docs/alerts.md"
TARGET = "job, instance"
"""Labels of an agent or of the tuner."""

_IDENTITY = (
    ("run_id", "run"),
    ("rank", "rank"),
    ("pod", "pod"),
    ("slurm_job", "Slurm job"),
    ("uid", "user"),
)
_HOLDER = "".join(f"{{{{ with .Labels.{label} }}}} {word} {{{{ . }}}}{{{{ end }}}}" for label, word in _IDENTITY)
GPU_NAME = (
    '{{ range query (printf "paceline_gpu_info{uuid=%q}" $labels.uuid) }}'
    "GPU {{ .Labels.index }} ({{ .Labels.pci }}) {{ end }}"
)
"""Of the alert's label `uuid`; nothing where the agent knows no GPU by it. Ends with a blank."""
GPU_HOLDER = (
    '{{ range query (printf "paceline_gpu_owner_info{uuid=%q}" $labels.uuid) }} Held by'
    f"{_HOLDER}.{{{{ end }}}}"
)
"""Whose it is; nothing where nobody holds it. Begins with a blank."""


@dataclass(frozen=True)
class Alert:
    """One alert."""

    name: str
    severity: Literal["critical", "warning"]
    """critical: work is being lost now."""
    expression: str
    hold: str
    """How long it must be so; 0s for what happened and cannot unhappen."""
    summary: str
    description: str
    """What to do first."""

    @property
    def runbook(self) -> str:
        """Where the section is."""
        return f"{PAGE}#{self.name.lower()}"

    def rule(self) -> dict[str, Any]:
        """As Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": self.expression,
            "for": self.hold,
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook": self.runbook,
            },
        }
