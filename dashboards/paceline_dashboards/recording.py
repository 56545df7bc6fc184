"""Recording rules: what a run does as a whole, how devices fare; over five minutes, for alerts and long views."""

from __future__ import annotations

from typing import Any

from .devices import GPU, PORT
from .queries import Ranks

RANKS = Ranks("5m")
THROTTLE = "gpu:paceline_gpu_throttle:share5m"
NVLINKS = "gpu:paceline_gpu_nvlinks:up"
RETRANSMISSIONS = "port:paceline_rdma_port_retransmissions:ratio5m"
CONGESTION = "port:paceline_rdma_port_congestion:ratio5m"
PFC_PAUSE = "nic:paceline_nic_pfc_pause:share5m"
OWN = "rank:paceline_step_own_seconds:mean5m"

RUNS = {
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


def _rate(counter: str) -> str:
    return f"rate(paceline_{counter}_total[5m])"


SENT = f"({_rate('rdma_port_transmit_packets')} > 0)"
NODES = {
    THROTTLE: _rate("gpu_throttle_seconds"),
    NVLINKS: f"sum by ({GPU}) (paceline_gpu_nvlink_up)",
    RETRANSMISSIONS: (
        f"({_rate('rdma_port_receive_sequence_naks')} + {_rate('rdma_port_ack_timeouts')}"
        f" or on ({PORT}) {_rate('rdma_port_retransmit_packets')}) / {SENT}"
    ),
    CONGESTION: f"{_rate('rdma_port_cnp_handled_packets')} / {SENT}",
    PFC_PAUSE: _rate("nic_receive_pfc_pause_seconds"),
}
"""The same for devices. Ratios are of packets sent; while nothing is sent there are none."""


def document() -> dict[str, Any]:
    """As Prometheus reads it."""
    groups = {"paceline-runs": RUNS, "paceline-nodes": NODES}
    return {
        "groups": [
            {"name": name, "rules": [{"record": record, "expr": expr} for record, expr in rules.items()]}
            for name, rules in groups.items()
        ]
    }
