"""Whether a rank's steps take longer while agents that read its ring are killed and started again.

The rank makes steps on a steady clock, in turn with agents around it and without. Beside it a second rank does
the same whose ring nobody reads: what delays both is the machine. Of each step it is known whether its thread
slept: a step that waits for somebody gives its processor up of its own accord, one that is pushed aside does not.
"""

from __future__ import annotations

import os
import random
import resource
import time
import zlib
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, NamedTuple

from paceline_exporters.attach import layout
from paceline_exporters.attach.recorder import Recorder
from paceline_exporters.cli import main as paceline

STEP_SECONDS = 0.004
WORK = bytes(1 << 20)
"""A step computes a checksum over this, about half a millisecond."""
MARGIN_SECONDS = 0.001
"""A step is delayed when it takes longer than 99.9 % of those without an agent, and this much more."""
BLOCK_KILLS = 25
"""Agents killed between two stretches without one."""
REST_SECONDS = 0.75
"""A stretch without an agent."""
LIFE_SECONDS = 0.06
"""Most that an agent lives on, from its start or from when it serves."""
START_SECONDS = 60.0
WITHOUT, WITH, OVER = range(3)


class Step(NamedTuple):
    """One step of the rank."""

    seconds: float
    waits: int
    """Times that the thread slept in it (voluntary context switches, getrusage(2))."""


def killed_agents(context: ForkServerContext, kills: int, directory: Path) -> dict[str, Any]:
    """The rank's steps in both kinds of stretches."""
    now = context.RawValue("i", WITHOUT)
    read, unread = (_begin(context, directory / name, now) for name in ("rings", "unread"))
    reading = 0
    for first in range(0, kills, BLOCK_KILLS):
        now.value = WITHOUT
        time.sleep(REST_SECONDS)
        now.value = WITH
        for number in range(first, min(kills, first + BLOCK_KILLS)):
            reading += _kill_one(context, number, directory)
    now.value = OVER
    ours, control = (_of_rank(*rank.recv()) for rank in (read, unread))
    delayed = ours["slow_that_waited"]
    counts = {"agent_kills": kills, "agent_kills_reading": reading, "steps_delayed": delayed}
    return {**counts, "agent_kills_rank": ours, "agent_kills_rank_unread": control}


def _of_rank(without: Sequence[Step], beside: Sequence[Step]) -> dict[str, Any]:
    limit = _percentile(without, 0.999) + MARGIN_SECONDS
    slow = [step for step in beside if step.seconds > limit]
    return {
        "steps": len(beside),
        "slow": len(slow),
        "slow_that_waited": sum(step.waits > 0 for step in slow),
        "limit_ms": round(limit * 1e3, 3),
        "p50_ms": round(_percentile(beside, 0.5) * 1e3, 3),
        "steps_without_agent": len(without),
        "slow_without_agent": sum(step.seconds > limit for step in without),
        "p50_ms_without_agent": round(_percentile(without, 0.5) * 1e3, 3),
    }


def _percentile(steps: Sequence[Step], share: float) -> float:
    ordered = sorted(step.seconds for step in steps)
    return ordered[int(share * (len(ordered) - 1))]


def _begin(context: ForkServerContext, rings: Path, now: Any) -> Connection:
    """A rank; what comes in the end are its steps without an agent, and those beside agents."""
    ours, its = context.Pipe(duplex=False)
    context.Process(target=_train, args=(rings, now, its), daemon=True).start()
    return ours


def _kill_one(context: ForkServerContext, number: int, directory: Path) -> bool:
    """An agent, killed at random: every other one from its start, the others from when they serve; whether it had
    the ring open."""
    life = random.Random(number).uniform(0.0, LIFE_SECONDS)
    ours, its = context.Pipe(duplex=False)
    agent = context.Process(target=_serve, args=(directory, its), daemon=True)
    agent.start()
    its.close()
    if number % 2 and not ours.poll(START_SECONDS):
        raise TimeoutError("the agent does not serve")
    time.sleep(life)
    reads = _reads(agent.pid, directory / "rings")
    agent.kill()
    agent.join()
    ours.close()
    return reads


def _reads(pid: int | None, rings: Path) -> bool:
    return any(_target(link).startswith(f"{rings}/") for link in Path(f"/proc/{pid}/fd").iterdir())


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # closed meanwhile
        return ""


def _serve(directory: Path, said: Connection) -> None:
    """The agent, as its command starts it; its imports were done before the fork."""
    os.dup2(said.fileno(), 1)
    flags = {name: directory / name for name in ("rings", "state", "spool")}
    paceline(
        [
            *("agent", "--web.listen-address=127.0.0.1:0", "--log.level=error"),
            *(f"--{name}.directory={path}" for name, path in flags.items()),
        ]
    )


def _train(rings: Path, now: Any, results: Connection) -> None:
    recorder = Recorder(rings, {"run_id": "steady", "rank": 0, "world_size": 1})
    values = [0.001] * len(layout.STEP_FIELDS)
    taken: tuple[list[Step], list[Step]] = ([], [])
    due = time.monotonic()
    while (kind := now.value) != OVER:
        due = max(due + STEP_SECONDS, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
        step = _step(recorder, values)
        if now.value == kind:
            taken[kind].append(step)
    results.send(taken)


def _step(recorder: Recorder, values: Sequence[float]) -> Step:
    waits, began = _waits(), time.perf_counter()
    zlib.crc32(WORK)
    recorder.step(values)
    return Step(time.perf_counter() - began, _waits() - waits)


def _waits() -> int:
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
