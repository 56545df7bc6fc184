"""How well stragglers are found in generated histories: recall, false alarms, right rank and cause, how soon.

`python tests/benchmarks/diagnosis.py --output build/bench/steps.json`; about 4 minutes on 2 cores. The figures
are added to what stands in the file. 300 histories per case (`--cases`), 2 to 8 ranks, steps of 50 ms to 1 s.
Jobs whose ranks share cores with other programs (`shared cores`) get a fault of their noise's size and more time.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import random
import statistics
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from ring_histories import Story, history, shared

from paceline_exporters.diagnosis.findings import Finding
from paceline_exporters.diagnosis.run import RunDiagnosis

FAULTS = ("data_wait", "forward", "backward", "optimizer", "compute", "communication")
COMPUTE = ("forward", "backward", "optimizer")
ONSETS = (40, 400)
"""First steps of faults, uniform between: from about the 160th on, of fast steps not each is looked at."""
STEPS_AFTER = 100
KINDS = ("", "variable lengths", "hiccups", "shared cores", "stalls", "meeting in forward")
OF_KIND = {
    "shared cores": ("", "communication"),
    "stalls": ("data_wait",),
    "hiccups": ("", "data_wait", "backward", "compute"),
    "meeting in forward": ("data_wait", "optimizer"),
}
"""Faults that jobs of some kinds are made with; those of other kinds with all."""
STALLS_EVERY = (2, 8)
"""One step in so many has all of the fault."""
HICCUPS = (0.02, 0.1)
"""Rates of such histories, uniform between."""
SLOWLY_STEPS, SLOWLY_SECONDS = 128, 25.0
"""In the longer of which a straggler among hiccups, or one that stalls in one step of several, is to be found: of
fast steps one in four is looked at."""
SLOWLY = ("hiccups", "stalls")
SHARED_BY = 0.6
SHARED_SECONDS = 25.0


class Case(NamedTuple):
    """What one history is about, and the seed that makes it."""

    fault: str
    kind: str
    seed: int


class Result(NamedTuple):
    """What was found in it."""

    case: Case
    delay_steps: int | None
    """From the fault's first step to the step that named the right rank and cause; None: never."""
    step_seconds: float
    wrong: int
    """Findings that blame somebody or something else."""


def main() -> int:
    """Measure, add the figures to the file, and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/bench/steps.json"))
    parser.add_argument("--cases", type=int, default=300)
    arguments = parser.parse_args()
    cases = [Case(fault, kind, seed) for fault, kind in _rows() for seed in range(arguments.cases)]
    with multiprocessing.Pool() as pool:
        figures = summary(pool.map(judge, cases, chunksize=20))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    arguments.output.write_text(json.dumps(before | figures, indent=2) + "\n")
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    return 0


def _rows() -> Iterator[tuple[str, str]]:
    for fault in ("", *FAULTS):
        yield from ((fault, kind) for kind in KINDS if fault in OF_KIND.get(kind, ("", *FAULTS)))


def judge(case: Case) -> Result:
    """Diagnose one history as agent and tuner do: record by record, with what the nodes saw."""
    story = told(case)
    diagnosis = RunDiagnosis(story.ranks)
    if case.fault == "communication":
        diagnosis.saw(story.slow_rank, {"nic_errors_per_second": 20.0})
    findings = [
        finding
        for step in history(story)
        for rank, values in step.ranks.items()
        for finding in diagnosis.add(rank, values)
        if finding.kind in ("straggler", "communication")
    ]
    right = [one.found_step for one in findings if case.fault and is_right(one, story)]
    delay = min(right) - story.onset + 1 if right else None
    return Result(case, delay, story.step_seconds, len(findings) - len(right))


def told(case: Case) -> Story:
    """The case's story."""
    rng = random.Random(case.seed * 7919 + len(case.fault))
    ranks = rng.randint(2, 8)
    onset = rng.randint(*ONSETS)
    story = Story(
        seed=case.seed,
        ranks=ranks,
        steps=onset + STEPS_AFTER,
        step_seconds=rng.choice([0.05, 0.1, 0.2, 0.5, 1.0]),
        variable_lengths=case.kind == "variable lengths",
        fault=case.fault,
        slow_rank=rng.randrange(ranks),
        onset=onset,
    )
    if case.kind == "hiccups":
        return replace(story, hiccups=rng.uniform(*HICCUPS), steps=story.onset + 2 * _slowly(story.step_seconds))
    if case.kind == "stalls":
        return replace(
            story, every=rng.randint(*STALLS_EVERY), steps=story.onset + 2 * _slowly(story.step_seconds)
        )
    if case.kind != "shared cores":
        return replace(story, meets_in_forward=case.kind == "meeting in forward")
    steps = story.onset + math.ceil(2 * SHARED_SECONDS / story.step_seconds)
    return replace(shared(story), by=SHARED_BY, steps=max(story.steps, steps))


def is_right(finding: Finding, story: Story) -> bool:
    """Right kind, rank, phase and cause, and not before it began."""
    if finding.rank != story.slow_rank or finding.found_step < story.onset:
        return False
    if story.fault == "communication":
        return finding.kind == "communication" and finding.cause == "degraded_nic"
    cause = "data" if story.fault == "data_wait" else "compute"
    phases = COMPUTE if story.fault == "compute" else (story.fault,)
    return finding.kind == "straggler" and finding.phase in phases and finding.cause == cause


def allowed(result: Result) -> int:
    """The longer of 5 steps and 2 s, or as SLOWLY says; where ranks share cores, of 25 steps and 25 s."""
    if result.case.kind in SLOWLY:
        return _slowly(result.step_seconds)
    steps, seconds = (25, SHARED_SECONDS) if result.case.kind == "shared cores" else (5, 2.0)
    return max(steps, math.ceil(seconds / result.step_seconds))


def _slowly(step_seconds: float) -> int:
    return max(SLOWLY_STEPS, math.ceil(SLOWLY_SECONDS / step_seconds))


def summary(results: list[Result]) -> dict[str, Any]:
    """Over all cases the worst; per case in `stragglers`."""
    table = {}
    for fault, kind in _rows():
        some = [one for one in results if (one.case.fault, one.case.kind) == (fault, kind)]
        table[", ".join(filter(None, (fault or "healthy", kind)))] = _row(fault, some)
    delays = [
        one.delay_steps * one.step_seconds
        for one in results
        if one.delay_steps is not None and one.case.kind not in (*SLOWLY, "shared cores")
    ]
    return {
        "straggler_recall": min(row["recall"] for row in table.values() if "recall" in row),
        "straggler_false_alarm": max(row["false_alarm"] for row in table.values()),
        "straggler_seconds": round(statistics.median(delays), 3),
        "straggler_histories_per_case": len(results) // len(table),
        "stragglers": table,
    }


def _row(fault: str, results: list[Result]) -> dict[str, Any]:
    row: dict[str, Any] = {"false_alarm": round(sum(one.wrong > 0 for one in results) / len(results), 4)}
    if fault:
        delays = [one.delay_steps for one in results if one.delay_steps is not None]
        in_time = sum(one.delay_steps is not None and one.delay_steps <= allowed(one) for one in results)
        row |= {
            "recall": round(in_time / len(results), 4),
            "found_ever": round(len(delays) / len(results), 4),
            "delay_steps_p50": statistics.median(delays),
            "delay_steps_max": max(delays),
        }
    return row


if __name__ == "__main__":
    sys.exit(main())
