"""A proposal, and a disk that cannot be written, in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def settings(proposal: Mapping[str, Any]) -> dict[str, Any]:
    """What a proposal (or the answer of /best) sets: knob name -> value."""
    named = dict(proposal.get("arguments") or {})
    for section, prefix in (("ddp", "ddp."), ("env", "env."), ("placeholders", "placeholder.")):
        named |= {prefix + key: value for key, value in (proposal.get(section) or {}).items()}
    return named


def configuration(proposal: Mapping[str, Any]) -> str:
    """`learning_rate=0.001 ddp.bucket_cap_mb=unset`, or `default`."""
    words = [f"{name}={'unset' if value is None else value}" for name, value in settings(proposal).items()]
    return " ".join(words) or "default"


def describe(proposal: Mapping[str, Any]) -> str:
    """Kind, trial and configuration."""
    kind = "trial" if proposal["kind"] == "trial" else f"{proposal['kind']} run of trial"
    return f"{kind} {proposal['trial']}: {configuration(proposal)}"


def unwritable(error: OSError, directory: Path) -> str:
    """What to do about a study's directory (or a file in it) that cannot be used."""
    name = error.filename or directory
    return f"cannot write {name} ({error.strerror}): free its disk or allow writing, or give another --directory"
