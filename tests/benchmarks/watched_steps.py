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
from multiprocessing.synchronize import Barrier, Event
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
RUNS, RANKS = 8, 2
"""That stand still, and ranks of each."""
TRAINING_SECONDS = 3.0
"""Before a rank stops."""
PATIENCE_SECONDS = 120.0
STEP_PHASES = (layout.DATA_WAIT, layout.FORWARD, layout.BACKWARD, layout.OPTIMIZER)
COUNT, HUNG = "paceline_steps_total", "paceline_run_hung"
_STEP, _MONOTONIC = (layout.STEP_FIELDS.index(name) for name in ("step", "monotonic"))


def visible(context: ForkServerContext, seconds: float, directory: Path) -> dict[str, Any]:
    """From the end of each step of a rank to the end of the first scrape that counts it."""
    ends: list[float] = []
    counts: list[float] = []
    with _agent(directory) as agent, _ranks(context, 1, 1, directory) as _:
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
    with _agent(directory) as agent, _ranks(context, RUNS, RANKS, directory) as pids:
        time.sleep(TRAINING_SECONDS)
        for pid in pids[RANKS - 1 :: RANKS]:  # the last of each run; the others wait for it
            os.kill(pid, signal.SIGSTOP)
            time.sleep(chance.uniform(0.0, 2.0 / RUNS))
        last = {run: max(steps.values()) for (run, rank), steps in _made(directory).items() if rank == RANKS - 1}
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
def _ranks(context: ForkServerContext, runs: int, size: int, directory: Path) -> Iterator[Sequence[int]]:
    """Process ids of so many runs' ranks, all of which made a step."""
    begun = [context.Event() for _ in range(runs * size)]
    gradients = [context.Barrier(size) for _ in range(runs)]
    ranks = [
        context.Process(
            target=_train,
            args=(
                directory / "rings",
                f"run-{place // size}",
                place % size,
                size,
                gradients[place // size],
                event,
            ),
            daemon=True,
        )
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


def _train(rings: Path, run: str, rank: int, size: int, gradients: Barrier, begun: Event) -> None:
    """As a plain loop under DDP writes its ring: each phase as it begins, then the step's record."""
    recorder = Recorder(rings, {"run_id": run, "rank": rank, "world_size": size})
    step = 0
    while True:
        step += 1
        began = {}
        for phase in STEP_PHASES:
            began[phase] = recorder.since[phase] = time.monotonic()
            if phase == layout.BACKWARD:
                gradients.wait()
            time.sleep(STEP_SECONDS / len(STEP_PHASES))
        ended = time.monotonic()
        recorder.step([_record(step, began, ended).get(name, math.nan) for name in layout.STEP_FIELDS])
        recorder.since[layout.PAUSE] = ended
        begun.set()


def _record(step: int, began: dict[int, float], ended: float) -> dict[str, float]:
    ends = [*list(began.values())[1:], ended]
    phases = {
        f"{layout.PHASES[phase]}_seconds": end - began[phase] for phase, end in zip(began, ends, strict=True)
    }
    whole = {
        "step": step,
        "step_seconds": ended - began[STEP_PHASES[0]],
        "pause_seconds": 0.0,
        "other_seconds": 0.0,
    }
    return {**whole, **phases, "wall": time.time(), "monotonic": ended}


def _made(directory: Path) -> dict[tuple[str, int], dict[int, float]]:
    """By run and rank, when each step ended, as its ring has it; monotonic seconds."""
    made = {}
    rings = RingDirectory(directory / "rings")
    for reader in rings.scan().rings.values():
        header, (stop, _) = reader.header(), reader.cursors()
        assert header is not None
        rows = [row for row in reader.steps(max(0, stop - layout.STEP_CAPACITY), stop) if row is not None]
        identity = header.data["run_id"], header.data["rank"]
        made[identity] = {int(row[_STEP]): row[_MONOTONIC] for row in rows}
    rings.close()
    return made
