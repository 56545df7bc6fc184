"""What rings keep, what steps lose and what an agent shows when ranks and agents are killed or stand still.

    python tests/benchmarks/step_faults.py --output build/bench/steps.json

Three to four minutes on 2 cores. The figures are added to what stands in the file.

Keys:
sigkill_readable_min: of the last 4,096 records of a rank killed at random, at the worst of `sigkills` times;
sigkill_in_a_record: kills that cost a record, the one being written;
torn_undetected: records read in all that, concurrently `sigkill_reads` times, that are not what was written;
agent_kills, and agent_kills_reading, those of agents that had the ring open, the others were starting;
steps_delayed: of a rank beside these agents, longer than the 99.9th percentile of the same rank's steps without
    an agent and 1 ms, and its thread slept: who has to wait for somebody sleeps, who is pushed aside does not;
agent_kills_rank, agent_kills_rank_unread: `slow` steps by time alone, also of a rank beside it whose ring nobody
    reads: starting agents and a busy machine take both ranks' processor;
step_visible_seconds: from a step's end to the end of the first scrape that counts it;
hang_seconds: from the last step of a rank that stands still to the first scrape that says so; *_min and *_max.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import pkgutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from killed_agents import killed_agents
from killed_writers import killed_writers
from watched_steps import hang, visible

from paceline_exporters import sources

SHARED_MEMORY = Path("/dev/shm")
"""Where rings are, by default."""


def main() -> int:
    """Measure, add the figures to the file, and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("build/bench/steps.json"))
    parser.add_argument("--sigkills", type=int, default=200)
    parser.add_argument("--agent-kills", type=int, default=1000)
    parser.add_argument("--visible-seconds", type=float, default=15.0)
    arguments = parser.parse_args()
    figures = measured(arguments.sigkills, arguments.agent_kills, arguments.visible_seconds)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    arguments.output.write_text(json.dumps(before | figures, indent=2) + "\n")
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    return 0


def measured(sigkills: int, agent_kills: int, visible_seconds: float) -> dict[str, Any]:
    """All figures, each part in a directory of its own."""
    # Ranks and agents are forked from a process that has imported all they need: a thousand starts are quick.
    context = multiprocessing.get_context("forkserver")
    kinds = [f"{sources.__name__}.{module.name}" for module in pkgutil.iter_modules(sources.__path__)]
    context.set_forkserver_preload(
        ["__main__", "paceline_agent.commands.agent", "paceline_agent.serving", *kinds]
    )
    parts: Sequence[Callable[[Path], dict[str, Any]]] = (
        lambda directory: killed_writers(context, sigkills, directory),
        lambda directory: killed_agents(context, agent_kills, directory),
        lambda directory: visible(context, visible_seconds, directory),
        lambda directory: hang(context, directory),
    )
    figures: dict[str, Any] = {}
    for part in parts:
        with tempfile.TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None) as directory:
            figures |= part(Path(directory))
    return figures


if __name__ == "__main__":
    sys.exit(main())
