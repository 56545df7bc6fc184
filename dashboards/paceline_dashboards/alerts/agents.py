"""Agents: whether they see what they should."""

from __future__ import annotations

from .alert import TARGET, Alert

AGENTS = (
    Alert(
        "PacelineAgentStale",
        "warning",
        f'up{{job="paceline-agent"}} == 0 or min by ({TARGET}) (paceline_agent_source_age_seconds) > 60',
        "2m",
        "The agent at {{ $labels.instance }} is away, or all it serves is old.",
        "Nothing is known of the ranks on that node. Jobs go on without it. See the agent's log and whether its "
        "process lives; a node that is away altogether shows in its other targets too.",
    ),
    Alert(
        "PacelineSourceFailing",
        "warning",
        "avg_over_time(paceline_agent_source_success[5m]) < 0.5",
        "1m",
        "Source {{ $labels.source }} of the agent at {{ $labels.instance }} fails.",
        "Its series are missing on that node, the others are not. paceline_agent_source_failures_total names the "
        "class of error, the agent's log the error itself.",
    ),
    Alert(
        "PacelineNvmlFailing",
        "warning",
        f'sum by ({TARGET}) (increase(paceline_nvml_child_restarts_total{{reason!="reprobe"}}[30m])) > 3'
        f" or on ({TARGET}) paceline_nvml_children_abandoned > 0",
        "0s",
        "NVIDIA's driver does not answer the agent at {{ $labels.instance }} reliably.",
        "Calls hang or fail, and the process that makes them is killed and started again. Series of GPUs have "
        "gaps, all others are whole. A process that SIGKILL does not end is stuck in the driver: see the "
        "kernel's log for XIDs 79, 119 and 120, drain the node and reboot it.",
    ),
    Alert(
        "PacelineKubeletUnreachable",
        "warning",
        "paceline_owners_kubelet_up == 0",
        "5m",
        "The kubelet does not tell the agent at {{ $labels.instance }} whose its devices are.",
        "GPUs and NICs of that node are not matched with pods; all else is served. paceline_owners_errors_total "
        "names the reason; `paceline doctor` in the agent's container says what mends it.",
    ),
    Alert(
        "PacelineSeriesBudgetExceeded",
        "warning",
        f"sum by ({TARGET}, source) (increase(paceline_agent_source_series_dropped_total[10m])) > 0"
        f" or sum by ({TARGET}) (increase(paceline_rings_dropped_total[10m])) > 0",
        "0s",
        "The agent at {{ $labels.instance }} leaves series out.",
        "It holds 5,000 series a source and 256 ranks. What is shown is true, but not all is shown: find out "
        "what makes so many, and look at what is missing on another node's agent or in the job's own log.",
    ),
)
