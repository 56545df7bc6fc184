"""In which phase a straggler is slow, and why, as labels of a series: they change seldom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from paceline_exporters.diagnosis.findings import Finding

Blame = tuple[str, str]
"""Phase and cause."""
UNEVIDENCED = "compute"
"""The cause where no node's evidence names one."""


def blamed(findings: Iterable[Finding], before: Mapping[int, Blame]) -> dict[int, Blame]:
    """Of each straggler the phase that costs most, and its cause.

    What was said `before` stays while it holds: two phases may cost nearly the same, evidence may come and go.
    """
    phases: dict[int, dict[str, str]] = {}
    for one in sorted(findings, key=lambda one: -one.share):
        if one.kind == "straggler" and one.rank is not None:
            phases.setdefault(one.rank, {})[one.phase] = one.cause
    return {rank: _blame(causes, before.get(rank)) for rank, causes in phases.items()}


def _blame(causes: Mapping[str, str], before: Blame | None) -> Blame:
    if before is None or before[0] not in causes:
        return next(iter(causes.items()))
    phase, cause = before
    return phase, cause if causes[phase] == UNEVIDENCED else causes[phase]
