"""What the agent costs and how fast it answers, measured on a real agent with eight ranks that write steps.

`python tests/benchmarks/agent.py --output build/bench/agent.json`; about 40 s. Where Debian's
prometheus-node-exporter is installed it is measured in the same way, beside the agent, under `peers`.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import math
import multiprocessing
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paceline_exporters.attach import layout
from paceline_exporters.attach.recorder import Recorder

RANKS = 8
STEPS_PER_SECOND = 10
IDLE_SECONDS = 6.0
PERIOD_SECONDS = 5.0
PERIODS = 3
BURST = 150
BURST_GAP_SECONDS = 0.06
ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
AGENT = "import sys; from paceline_exporters.cli import main; sys.exit(main())"


def main() -> int:
    """Measure, write the figures, and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/bench/agent.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, ranks(Path(scratch) / "rings") as rings:
        figures = measured(agent(rings))
        peer = shutil.which("prometheus-node-exporter")
        figures["peers"] = {"prometheus-node-exporter": measured(node_exporter(peer))} if peer else {}
    figures |= {"ranks": RANKS, "steps_per_second": STEPS_PER_SECOND}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(figures, indent=2) + "\n")
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    return 0


@contextlib.contextmanager
def ranks(directory: Path) -> Iterator[Path]:
    """Eight rings in `directory`, written to by another process."""
    ready = multiprocessing.Event()
    writer = multiprocessing.Process(target=_write, args=(directory, ready), daemon=True)
    writer.start()
    ready.wait(20)
    try:
        yield directory
    finally:
        writer.terminate()
        writer.join()


def _write(directory: Path, ready: Any) -> None:
    identity = {
        "run_id": "bench",
        "study": "bench",
        "trial": 0,
        "kind": "trial",
        "world_size": RANKS,
        "attempt": 0,
    }
    recorders = [Recorder(directory, {**identity, "rank": rank, "local_rank": rank}) for rank in range(RANKS)]
    known = {name: 0.01 for name in layout.STEP_FIELDS if not name.startswith(("ddp_", "gpu_"))}
    step = 0
    while True:
        step += 1
        now = {
            **known,
            "step": step,
            "monotonic": time.monotonic(),
            "wall": time.time(),
            "loss": math.exp(-step / 1e4),
        }
        for recorder in recorders:
            recorder.step([now.get(name, math.nan) for name in layout.STEP_FIELDS])
        ready.set()
        time.sleep(1 / STEPS_PER_SECOND)


@contextlib.contextmanager
def agent(rings: Path) -> Iterator[tuple[int, int]]:
    """A real agent; its process id and port."""
    command = [
        sys.executable,
        "-c",
        AGENT,
        "agent",
        "--web.listen-address=127.0.0.1:0",
        f"--rings.directory={rings}",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        match = re.search(r":(\d+)$", process.stdout.readline().strip())
        assert match, "the agent did not start"
        try:
            yield process.pid, int(match[1])
        finally:
            process.terminate()


@contextlib.contextmanager
def node_exporter(path: str) -> Iterator[tuple[int, int]]:
    """The peer; its process id and port."""
    port = 19473
    with subprocess.Popen([path, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL) as process:
        try:
            yield process.pid, port
        finally:
            process.terminate()


def measured(started: contextlib.AbstractContextManager[tuple[int, int]]) -> dict[str, Any]:
    """Series, latency, CPU and memory of one exporter."""
    with started as (pid, port):
        time.sleep(2.0)
        idle = cpu_share(pid, lambda: time.sleep(IDLE_SECONDS))
        regular = cpu_share(pid, lambda: [(time.sleep(PERIOD_SECONDS), scrape(port)) for _ in range(PERIODS)])
        before, began = cpu_seconds(pid), time.monotonic()
        taken = [timed(port) for _ in range(BURST)]
        burst = cpu_seconds(pid) - before - idle * (time.monotonic() - began)
        return {
            "series": sum(not line.startswith("#") for line in scrape(port).decode().splitlines()),
            "scrape_p50_ms": round(statistics.median(taken) * 1e3, 3),
            "scrape_p99_ms": round(statistics.quantiles(taken, n=100)[98] * 1e3, 3),
            "cpu_percent": round(regular * 100, 3),
            "cpu_percent_idle": round(idle * 100, 3),
            "cpu_ms_per_scrape": round(burst / BURST * 1e3, 3),
            "rss_mib": round(resident_mib(pid), 1),
        }


def timed(port: int) -> float:
    """Seconds of one scrape, a while after the one before."""
    time.sleep(BURST_GAP_SECONDS)
    began = time.perf_counter()
    scrape(port)
    return time.perf_counter() - began


_connections: dict[int, http.client.HTTPConnection] = {}


def scrape(port: int) -> bytes:
    """One scrape as Prometheus makes it: kept connection, OpenMetrics, gzip."""
    connection = _connections.setdefault(port, http.client.HTTPConnection("127.0.0.1", port, timeout=10))
    connection.request("GET", "/metrics", headers={"Accept": ACCEPT, "Accept-Encoding": "gzip"})
    return zlib.decompress(connection.getresponse().read(), 16 + zlib.MAX_WBITS)


def cpu_share(pid: int, meanwhile: Any) -> float:
    """CPU seconds per second of the process while `meanwhile` runs."""
    before, began = cpu_seconds(pid), time.monotonic()
    meanwhile()
    return (cpu_seconds(pid) - before) / (time.monotonic() - began)


def cpu_seconds(pid: int) -> float:
    """Of all threads, to the nanosecond."""
    return sum(int(p.read_text().split()[0]) for p in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def resident_mib(pid: int) -> float:
    """Resident set."""
    match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) / 1024 if match else math.nan


if __name__ == "__main__":
    sys.exit(main())
