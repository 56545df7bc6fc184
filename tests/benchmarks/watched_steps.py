"""How soon a real agent shows what ranks do: a step that ended, and a rank that stands still."""

from __future__ import annotations

import math
import os
import random
import signal
import statistics
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from agent_costs import percentile_99
from exporter_process import Exporter, paceline_agent, series

from paceline_exporters.attach import layout
from paceline_exporters.attach.recorder import Recorder
from paceline_exporters.rings import RingDirectory

STEP_SECONDS = 0.01
GAP_SECONDS = 0.005
"""Between scrapes."""
RUNS = 8
TRAINING_SECONDS = 3.0
"""Before a rank stops."""
PATIENCE_SECONDS = 120.0
COUNT, HUNG = "paceline_steps_total", "paceline_run_hung"
_STEP, _MONOTONIC = (layout.STEP_FIELDS.index(name) for name in ("step", "monotonic"))


def visible(context: ForkServerContext, seconds: float, directory: Path) -> dict[str, Any]:
    """From the end of each step of a rank to the end of the first scrape that counts it."""
    ends: list[float] = []
    counts: list[float] = []
    with _agent(directory) as agent, _ranks(context, 1, directory) as _:
        until = time.monotonic() + seconds
        while time.monotonic() < until or not (counts and counts[-1]):
            counts.append(sum(value for _, value in series(agent.scrape(), COUNT)))
            ends.append(time.monotonic())
            time.sleep(GAP_SECONDS)
        (made,) = _made(directory).values()
    ages = [ends[bisect_left(counts, step)] - made[step] for step in range(1, int(counts[-1]) + 1)]
    return {
        "step_visible_seconds": round(statistics.median(ages), 3),
        "step_visible_p99_seconds": round(percentile_99(ages), 3),
        "step_visible_steps": len(ages),
    }


def hang(context: ForkServerContext, directory: Path) -> dict[str, Any]:
    """From the last step of ranks that stop, alive and with locks held, to the first scrape that says so."""
    found: dict[str, float] = {}
    chance = random.Random(RUNS)
    with _agent(directory) as agent, _ranks(context, RUNS, directory) as pids:
        time.sleep(TRAINING_SECONDS)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(chance.uniform(0.0, 2.0 / RUNS))
        last = {run: max(steps.values()) for run, steps in _made(directory).items()}
        began = time.monotonic()
        while len(found) < RUNS:
            text, now = agent.scrape(), time.monotonic()
            for labels, value in series(text, HUNG):
                if value == 1.0:
                    found.setdefault(labels["run_id"], now)
            if now - began > PATIENCE_SECONDS:
                raise TimeoutError(f"of {RUNS} runs that stand still the agent noticed {len(found)}")
            time.sleep(GAP_SECONDS)
    seconds = [at - last[run] for run, at in found.items()]
    return {
        "hang_seconds": round(statistics.median(seconds), 3),
        "hang_seconds_min": round(min(seconds), 3),
        "hang_seconds_max": round(max(seconds), 3),
        "hang_runs": len(seconds),
    }


@contextmanager
def _agent(directory: Path) -> Iterator[Exporter]:
    flags = [f"--{name}.directory={directory / name}" for name in ("rings", "state", "spool")]
    with paceline_agent(directory / "agent.log", flags, {}) as agent:
        yield agent


@contextmanager
def _ranks(context: ForkServerContext, number: int, directory: Path) -> Iterator[Sequence[int]]:
    """Process ids of so many runs of one rank, all of which made a step."""
    begun = [context.Event() for _ in range(number)]
    ranks = [
        context.Process(target=_train, args=(directory / "rings", f"run-{place}", event), daemon=True)
        for place, event in enumerate(begun)
    ]
    for rank in ranks:
        rank.start()
    try:
        if not all(event.wait(PATIENCE_SECONDS) for event in begun):
            raise TimeoutError("a rank did not start")
        yield [rank.pid for rank in ranks if rank.pid is not None]
    finally:
        for rank in ranks:
            rank.kill()
            rank.join()


def _train(rings: Path, run: str, begun: Event) -> None:
    recorder = Recorder(rings, {"run_id": run, "rank": 0, "world_size": 1})
    step = 0
    while True:
        step += 1
        known = {"step": step, "step_seconds": STEP_SECONDS, "wall": time.time(), "monotonic": time.monotonic()}
        recorder.step([known.get(name, math.nan) for name in layout.STEP_FIELDS])
        begun.set()
        time.sleep(STEP_SECONDS)


def _made(directory: Path) -> dict[str, dict[int, float]]:
    """By run, when each step ended, as its ring has it; monotonic seconds."""
    made = {}
    rings = RingDirectory(directory / "rings")
    for reader in rings.scan().rings.values():
        header, (stop, _) = reader.header(), reader.cursors()
        assert header is not None
        rows = [row for row in reader.steps(max(0, stop - layout.STEP_CAPACITY), stop) if row is not None]
        made[header.data["run_id"]] = {int(row[_STEP]): row[_MONOTONIC] for row in rows}
    rings.close()
    return made
