"""The end of a study, in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def verdict_lines(view: Mapping[str, Any], reason: str, runs: Path) -> list[str]:
    """What a study came to, for people; `view` is GET /v1/studies/NAME, `runs` holds the runs' directories."""
    name, proof = view["name"], view.get("proof") or {}
    if view["state"] == "failed":
        return [f"study {name} failed: {reason}", f"  logs are at {runs}/RUN/log.txt"]
    verdict = f"{proof['verdict']}: " if proof.get("verdict") else ""
    text = proof.get("reason") or reason
    lines = [f"study {name}: {verdict}{text}"]
    if proof.get("verdict") == "use this":
        lines += [f"  paceline best {name}                      prints the configuration in every form"]
        lines += [f"  paceline submit --study {name} -- COMMAND   runs your own job with it"]
    return lines


def ratio_words(proof: Mapping[str, Any]) -> str:
    """`1.31 times the default, 95 % interval 1.24 to 1.38, from 6 alternating pairs`."""
    low, high = proof.get("low"), proof.get("high")
    interval = f"95 % interval {low:.3f} to {high:.3f}" if low and high else "no 95 % interval from so few pairs"
    return f"{proof['ratio']:.3f} times the default, {interval}, from {proof['pairs']} alternating pairs"
