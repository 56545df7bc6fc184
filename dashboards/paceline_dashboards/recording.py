"""Recording rules: what a run does as a whole, over five minutes, for alerts and for long views."""

from __future__ import annotations

from typing import Any

from .queries import Ranks

RANKS = Ranks("5m")
OWN = "rank:paceline_step_own_seconds:mean5m"

RULES = {
    "run:paceline_step_tokens:rate5m": RANKS.total("paceline_step_tokens_total"),
    "run:paceline_step_samples:rate5m": RANKS.total("paceline_step_samples_total"),
    "run:paceline_step_samples:pace5m": RANKS.pace(),
    "run:paceline_step_seconds:mean5m": f"avg by (run_id) ({RANKS.step_seconds()}) >= 0",
    "run_phase:paceline_step_phase_seconds:share5m": f"{RANKS.phase_shares()} >= 0",
    "run:paceline_step_data_wait:share5m": f"max by (run_id) ({RANKS.phase_share('data_wait')}) >= 0",
    OWN: f"max by (run_id, rank) ({RANKS.own_seconds()}) >= 0",
    "run:paceline_step_own_seconds:slowest5m": f"topk by (run_id) (1, {OWN})",
    "run:paceline_step_own_seconds:skew5m": f"max by (run_id) ({OWN}) / quantile by (run_id) (0.5, {OWN}) - 1",
}
"""Name of the recorded series -> expression. In order: later rules read earlier ones. `>= 0` leaves out NaN:
without a step there is no mean step."""


def document() -> dict[str, Any]:
    """As Prometheus reads it."""
    rules = [{"record": name, "expr": expression} for name, expression in RULES.items()]
    return {"groups": [{"name": "paceline-runs", "rules": rules}]}
