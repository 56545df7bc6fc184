"""The words for a run that stands still in its first step: there is no step yet that could say more."""

from __future__ import annotations

from dataclasses import replace

from .findings import Finding, Verdict


def in_first_step(told: Verdict, standstill: Finding | None) -> Verdict:
    """The verdict, without the numbers of steps that are not known, where that is what holds the run up."""
    if standstill is None or standstill.since_step != 1:
        return told
    who = f"Rank {standstill.rank}" if standstill.rank is not None else "The run"
    silent = f"{standstill.numbers['silent_seconds']:.0f} s"
    if not standstill.phase:
        return replace(told, summary=f"{who} has not begun its first step for {silent}.", numbers={})
    summary = f"{who} has made no progress for {silent}, in {standstill.phase} of its first step."
    return replace(told, summary=summary, numbers={})
