"""A finished study's figures: from GET /v1/studies/NAME to what report.json holds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Row = dict[str, Any]
PHASES = ("data_wait", "sync_wait", "forward", "backward", "optimizer", "other")


def study_report(view: Mapping[str, Any], best: Mapping[str, Any] | None, seconds: float) -> Row:
    """Flat and complete: `trials`, `default`, `best`, `pairs`, `ratio`, `ratio_ci95`, `verdict`, `seconds`.

    `best` is GET /v1/studies/NAME/best; `seconds` is the wall time of the whole study. An interval that is
    unbounded (fewer than 6 pairs) is null, as is every number that is not known.
    """
    proof = view.get("proof") or {}
    trials = [_trial(trial, view["created_at"]) for trial in view["trials"]]
    candidate = proof.get("trial") if proof.get("trial") is not None else (view.get("best") or {}).get("trial")
    return {
        "study": view["name"],
        "state": view["state"],
        "reason": view["reason"],
        "objective": _objective(view["spec"]["objective"]),
        "command": view["spec"]["command"],
        "trials": trials,
        "default": _configuration(view, 0, {}),
        "best": _configuration(view, candidate, best or {}),
        "pairs": _pairs(view),
        "ratio": proof.get("ratio"),
        "ratio_ci95": [proof.get("low"), proof.get("high")] if proof.get("ratio") else None,
        "verdict": proof.get("verdict") or "no verdict",
        "verdict_reason": proof.get("reason") or view["reason"],
        "seconds": round(seconds, 1),
    }


def _objective(objective: Mapping[str, Any]) -> str:
    if objective["kind"] == "throughput":
        return f"{objective['unit']} per second, all ranks"
    return f"{objective['metric']} after {objective['max_steps']} steps"


def _trial(trial: Mapping[str, Any], began: float) -> Row:
    runs = [run for run in trial["runs"] if run["kind"] == "trial"]
    ended = [run["closed_at"] for run in runs if run["closed_at"] is not None]
    return {
        "trial": trial["number"],
        "params": trial["params"],
        "state": trial["state"],
        "value": trial["value"],
        "reason": trial["reason"],
        "seconds_since_start": round(max(ended) - began, 1) if ended else None,
        "runs": [run["run_id"] for run in runs],
    }


def _configuration(view: Mapping[str, Any], number: int | None, best: Mapping[str, Any]) -> Row | None:
    trial = next((trial for trial in view["trials"] if trial["number"] == number), None)
    if trial is None:
        return None
    finished = [run for run in trial["runs"] if run["outcome"] == "finished"]
    pairs = [run["value"] for run in finished if run["kind"] == "pair" and run["value"] is not None]
    settings = {key: best[key] for key in ("arguments", "ddp", "env", "placeholders") if best.get(key)}
    return {
        "trial": number,
        "params": trial["params"],
        "value": trial["value"],
        "median_of_pairs": statistics.median(pairs) if pairs else None,
        "phases_seconds": _phases(finished),
        **settings,
    }


def _phases(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Mean seconds per step of each phase, median over the runs."""
    measured = [run["summary"]["phases"] for run in runs if (run["summary"] or {}).get("phases")]
    means = {name: [phases.get(f"{name}_seconds", 0.0) for phases in measured] for name in (*PHASES, "step")}
    return {name: round(statistics.median(values), 6) for name, values in means.items() if values}


def _pairs(view: Mapping[str, Any]) -> list[Row]:
    """Each complete pair's two values and their ratio (candidate / default)."""
    sides: dict[int, Row] = {}
    for trial in view["trials"]:
        for run in trial["runs"]:
            if run["kind"] == "pair" and run["outcome"] == "finished" and run["value"] is not None:
                side = "default" if trial["number"] == 0 else "best"
                sides.setdefault(run["pair"], {})[side] = run["value"]
    complete = [(pair, both) for pair, both in sorted(sides.items()) if len(both) == 2]
    return [{"pair": pair, **both, "ratio": both["best"] / both["default"]} for pair, both in complete]
