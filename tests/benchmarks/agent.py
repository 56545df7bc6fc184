"""What the agent costs, how fast it answers and what a fault does to it: a real agent on a node at work.

    python tests/benchmarks/agent.py --output build/bench/agent.json

About four minutes. The node: eight GPUs behind the tests' stand-in for libnvidia-ml.so.1, ten RDMA ports with
traffic, eight ranks of 10 steps a second. Where Debian's prometheus-node-exporter is installed it runs beside the
agent, with its InfiniBand collector on the same ports, and is measured in the same minutes.

Keys:
series, scrape_p50_ms, scrape_p99_ms, cpu_ms_per_scrape;
cpu_percent: of one core, child included, scraped each 5 s; cpu_percent_idle: never scraped;
cpu_percent_one_step_per_second: as the first, with ranks that take so long for a step;
rss_mib: child included, pages that both map counted twice; rss_once_mib: once; pss_mib: divided by all processes
    of the machine that map them, the benchmark's own included;
nvml_seconds_per_second: of calls that take microseconds here and longer in a real driver;
gpu_lost_seconds until `up` is 0, and gpu_lost_others_measured at the worst moment;
hang_*: while every NVML call hangs;
hang_recovery_seconds, reload_recovery_seconds: from when the driver answers until all GPUs are measured;
broken_hca_exported: of 16 when one can read nothing of its port;
peers: the same of node_exporter.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import agent_faults
from agent_costs import Exporters, costs, regular_cpu_percent
from exporter_process import Exporter, node_exporter, paceline_agent, series
from training_node import RANKS, STEPS_PER_SECOND, TrainingNode

PEER = "prometheus-node-exporter"
AGENT = "paceline"


def main() -> int:
    """Measure, write the figures, and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("build/bench/agent.json"))
    arguments = parser.parse_args()
    figures = {**measured(), "ranks": RANKS, "steps_per_second": STEPS_PER_SECOND}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(figures, indent=2) + "\n")
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    return 0


def measured() -> dict[str, Any]:
    """All figures of the agent; those of its peer, where it is installed, under `peers`."""
    peer = shutil.which(PEER)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        node = stack.enter_context(TrainingNode(scratch))
        agent = stack.enter_context(paceline_agent(scratch / "agent.log", node.flags, node.environment))
        exporters = {AGENT: agent}
        if peer is not None:
            exporters[PEER] = stack.enter_context(node_exporter(peer, node.sysfs))
        figures = _with_nvml_share(agent, exporters)
        ours = figures.pop(AGENT)
        node.set_pace(1)
        ours["cpu_percent_one_step_per_second"] = regular_cpu_percent(agent)
        node.set_pace(STEPS_PER_SECOND)
        for fault in (agent_faults.gpu_lost, agent_faults.hang, agent_faults.reload):
            ours |= fault(node, agent)
    ours["broken_hca_exported"], others = agent_faults.broken_hca(peer)
    if peer is not None:
        figures[PEER]["broken_hca_exported"] = others
    return {**ours, "peers": figures}


def _with_nvml_share(agent: Exporter, exporters: Exporters) -> dict[str, dict[str, Any]]:
    before, began = _nvml_seconds(agent), time.monotonic()
    figures = costs(exporters)
    spent = _nvml_seconds(agent) - before
    figures[AGENT]["nvml_seconds_per_second"] = round(spent / (time.monotonic() - began), 5)
    return figures


def _nvml_seconds(agent: Exporter) -> float:
    return sum(value for _, value in series(agent.scrape(), "paceline_nvml_seconds_total"))


if __name__ == "__main__":
    sys.exit(main())
