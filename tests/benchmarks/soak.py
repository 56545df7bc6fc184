"""Many scrapes of a real agent while ranks, GPU processes, ports and pods come and go: does it leak?

    python tests/benchmarks/soak.py --scrapes 10000 --output build/bench/soak.json

A quarter of an hour: a run that ended is shown for five minutes, and what is kept of such runs must come to rest.
The exit status is 1 where memory grows beyond the noise. Keys:
rss_mib: at the end, children included;
rss_slope_mib_per_1000_scrapes, rss_slope_ci95: of a line through the means of blocks after the warm-up;
rss_blocks_mib: these means, which tell growth that goes on from growth that ends;
rss_growth_mib: the last block less the first;
open_files_growth: at the end, less the most in the warm-up;
parsed: scrapes that a strict parser read; one that it cannot read ends the soak;
changes: what came and went.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from exporter_process import Exporter, paceline_agent
from kubelet import Kubelet
from nvml_stub import device_uuid
from podresources import pod, pods
from training_node import RANKS, TrainingNode

FORMATS = (("application/openmetrics-text", openmetrics_families), ("text/plain", text_families))
WARM_UP = 1 / 3
"""Share of the soak that is not looked at: a run that ended is shown for five minutes."""
BLOCKS = 20
HARMLESS_MIB_PER_1000 = 0.2
CHANGE_SECONDS = 1.0
RETENTION = "30s"
"""Of rings that nobody holds: an hour's worth, as by default, would still pile up when the soak ends."""


def main() -> int:
    """Soak, write the figures, and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("build/bench/soak.json"))
    parser.add_argument("--scrapes", type=int, default=10_000)
    parser.add_argument("--gap", type=float, default=0.06, help="seconds between scrapes")
    parser.add_argument("--parse-every", type=int, default=20, help="scrapes per scrape that is parsed")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kubelet = Kubelet(scratch / "root")
        stack.callback(kubelet.kill)
        kubelet.start()
        node = stack.enter_context(TrainingNode(scratch))
        flags = [*node.flags, f"--path.rootfs={scratch / 'root'}", f"--rings.retention={RETENTION}"]
        agent = stack.enter_context(paceline_agent(scratch / "agent.log", flags, node.environment))
        figures = soak(agent, changes(node, kubelet), arguments.scrapes, arguments.gap, arguments.parse_every)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(figures, indent=2) + "\n")
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    return int(figures["rss_slope_ci95"][0] > HARMLESS_MIB_PER_1000)


def changes(node: TrainingNode, kubelet: Kubelet) -> Iterator[str]:
    """One change after another, for ever; each is made when its name is asked for."""
    for turn in itertools.count():
        rank, device = turn % RANKS, node.devices[turn % len(node.devices)]
        node.end(rank)
        node.tell_driver()
        yield "rank ended"
        device.remove()
        yield "port left"
        held = {"nvidia.com/gpu": [device_uuid(rank)]}
        kubelet.answer(pods(pod(f"train-{turn}", held)))
        yield "pod came"
        node.start(rank)
        node.tell_driver()
        yield "rank started"
        device.add()
        yield "port came"
        kubelet.answer(pods())
        yield "pod left"


def soak(agent: Exporter, coming: Iterator[str], scrapes: int, gap: float, parse_every: int) -> dict[str, Any]:
    """Scrape so many times, a gap in seconds apart. Raises ValueError for a scrape that does not parse."""
    memory, files = [], []
    made = parsed = 0
    due = time.monotonic() + CHANGE_SECONDS
    for number in range(scrapes):
        if time.monotonic() >= due:
            next(coming)
            made, due = made + 1, time.monotonic() + CHANGE_SECONDS
        accept, families = FORMATS[parsed % len(FORMATS)]
        text = agent.scrape(accept)
        if number % parse_every == 0:
            parsed += bool(list(families(text)))
        memory.append(agent.resident_mib())
        files.append(agent.open_files())
        time.sleep(gap)
    return {"scrapes": scrapes, "parsed": parsed, "changes": made, **slope(memory, files)}


def slope(memory: list[float], files: list[int]) -> dict[str, Any]:
    """How memory, in MiB, and open files went, one value each per scrape."""
    skipped = int(len(memory) * WARM_UP)
    size = (len(memory) - skipped) // BLOCKS
    blocks = [skipped + size * number for number in range(BLOCKS)]
    means = [statistics.mean(memory[block : block + size]) for block in blocks]
    line = stats.linregress(blocks, means)
    margin = stats.t.ppf(0.975, BLOCKS - 2) * line.stderr
    return {
        "rss_mib": round(means[-1], 1),
        "rss_blocks_mib": [round(mean, 2) for mean in means],
        "rss_growth_mib": round(means[-1] - means[0], 2),
        "rss_slope_mib_per_1000_scrapes": round(line.slope * 1e3, 3),
        "rss_slope_ci95": [round((line.slope + sign * margin) * 1e3, 3) for sign in (-1, 1)],
        "open_files_growth": files[-1] - max(files[: skipped or 1]),
    }


if __name__ == "__main__":
    sys.exit(main())
