"""Real DDP jobs in which one rank is slow: the agent's diagnosis names it, the phase and the cause."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest

from paceline_agent.diagnosis.runs import Run, Runs, known
from paceline_exporters.attach import layout
from paceline_exporters.diagnosis.findings import Finding
from paceline_exporters.diagnosis.jobsteps import FieldValues
from paceline_exporters.diagnosis.run import RunDiagnosis
from paceline_exporters.following import Followers
from paceline_exporters.rings import RingDirectory

pytest.importorskip("torch", reason="trains: pip install 'paceline[demo]'")
pytestmark = pytest.mark.slow

LEARNT = 41
"""From this step on, after five seconds of 0.12 s each, the diagnosis knows what is normal."""
LASTS = 45
"""Steps of a fault, each as long as two healthy ones: eleven seconds, as it takes in a job that is all noise."""
QUIET = 15
"""Steps without a fault, after which what was found before is over."""
# All work is sleep: ranks share a few cores with other programs, and a sleep takes no turn from anybody.
JOB = """
import json, os, sys, time
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

faults, longer, steps = map(json.loads, sys.argv[1:])
EXTRA, LOADING, PER_TOKEN = 0.12, 0.01, 0.0008
dist.init_process_group("gloo")
rank = dist.get_rank()
lengths = torch.Generator().manual_seed(rank)

def extra(phase, step):
    return EXTRA if any((phase, rank) == (p, r) and first <= step < stop for p, r, first, stop in faults) else 0.0

def length(step):
    if longer is None:
        return 64
    slow, first, stop = longer
    other = int(torch.randint(32, 97, (1,), generator=lengths))
    return other if not first <= step < stop else 96 if rank == slow else 32

class Texts(Dataset):
    def __len__(self):
        return steps
    def __getitem__(self, index):
        step = index + 1
        time.sleep(LOADING + extra("data_wait", step))
        return {"input_ids": torch.arange(length(step)) % 64, "step": step}

class Work(torch.autograd.Function):
    @staticmethod
    def forward(context, x, step):
        context.step, context.seconds = step, PER_TOKEN * x.shape[0] * x.shape[1]
        time.sleep(context.seconds + extra("forward", step))
        return x.clone()
    @staticmethod
    def backward(context, gradient):
        time.sleep(context.seconds + extra("backward", context.step))
        return gradient, None

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.into, self.out = torch.nn.Embedding(64, 16), torch.nn.Linear(16, 64)
    def forward(self, ids, step):
        return self.out(Work.apply(self.into(ids), step))

model = DistributedDataParallel(Model())
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for batch in DataLoader(Texts()):
    ids = batch["input_ids"]
    logits = model(ids, int(batch["step"]))
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten()).backward()
    optimizer.step()
    optimizer.zero_grad()
dist.barrier()
os._exit(0)  # gloo's own teardown aborts or hangs now and then
"""


class Fault(NamedTuple):
    """Half of each step from `first` on and before `stop`."""

    phase: str
    rank: int
    first: int
    stop: int


class Longer(NamedTuple):
    """Lengths vary; from step `first` on and before `stop` this rank has three times the tokens of the others."""

    rank: int
    first: int
    stop: int


def job(directory: Path, ranks: int, steps: int, faults: Sequence[Fault], longer: Longer | None = None) -> Path:
    """Run it to its end under `paceline run`; its rings."""
    script, rings = directory / "job.py", directory / "rings"
    script.write_text(JOB)
    strange = ("PACELINE_", "PYTHONPATH", "RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_", "TORCHELASTIC_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    arguments = map(json.dumps, (faults, longer, steps))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "paceline_exporters", "run", "--rings.directory", str(rings), "--"),
            *(*launcher, str(script), *arguments),
        ],
        env={**kept, "OMP_NUM_THREADS": "1"},
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=400,
    )
    made = records(rings)
    assert len(made) == ranks * steps, done.stdout
    return rings


def records(rings: Path) -> list[tuple[int, int, FieldValues]]:
    """Step, rank and known values of each record, in order."""
    directory = RingDirectory(rings)
    found = []
    for reader in directory.scan().rings.values():
        header = reader.header()
        assert header is not None
        rows = (row for row in reader.steps(0, min(reader.cursors()[0], layout.STEP_CAPACITY)) if row is not None)
        found += [(int(values["step"]), int(header.data["rank"]), values) for values in map(known, rows)]
    directory.close()
    return sorted(found, key=lambda record: record[:2])


def stragglers(diagnosis: RunDiagnosis) -> list[Finding]:
    """All that were found, oldest first."""
    return [finding for finding in diagnosis.findings if finding.kind == "straggler"]


def blamed(found: Sequence[Finding], fault: Fault) -> Finding:
    """Of what was found while the fault was there, what costs most: a busy machine makes ranks slow as well, by
    less than half of the step."""
    return max(
        (one for one in found if fault.first <= one.found_step < fault.stop),
        key=lambda one: one.share,
    )


def excess(made: Sequence[tuple[int, int, FieldValues]], rank: int, first: int) -> float:
    """Of the rank's forward over that of the median other, as a share of the step; the median from `first` on."""
    steps: dict[int, dict[int, FieldValues]] = {}
    for step, one, values in made:
        steps.setdefault(step, {})[one] = values
    shares = []
    for ranks in (ranks for step, ranks in steps.items() if step >= first):
        others = median(values["forward_seconds"] for one, values in ranks.items() if one != rank)
        shares.append((ranks[rank]["forward_seconds"] - others) / ranks[rank]["step_seconds"])
    return median(shares)


@contextmanager
def looked_at(rings: Path) -> Iterator[Run]:
    """The run as an agent sees it."""
    runs = Runs(Followers(rings), lambda _: {}, keep_ended_seconds=math.inf)
    (run,) = runs.look()
    yield run
    runs.close()


def test_the_slow_rank_is_named_with_phase_and_cause(tmp_path: Path) -> None:
    firsts = [LEARNT + number * (LASTS + QUIET) for number in range(3)]
    faults = [
        Fault(phase, rank, first, first + LASTS)
        for phase, rank, first in zip(("data_wait", "forward", "backward"), (1, 0, 1), firsts, strict=True)
    ]
    with looked_at(job(tmp_path, ranks=2, steps=faults[-1].stop - 1, faults=faults)) as run:
        found, verdict = stragglers(run.diagnosis), run.diagnosis.verdict()
    for fault, cause in zip(faults, ("data", "compute", "compute"), strict=True):
        one = blamed(found, fault)
        assert (one.phase, one.rank, one.cause) == (fault.phase, fault.rank, cause)
        assert one.share > 0.1
    assert verdict.kind == "straggler"
    assert ("backward", 1) in {(one.phase, one.rank) for one in verdict.findings}


def test_a_rank_with_longer_batches_is_no_straggler_until_it_is_slow(tmp_path: Path) -> None:
    longer = Longer(2, LEARNT, LEARNT + 30)
    fault = Fault("forward", 2, longer.stop + QUIET, longer.stop + QUIET + LASTS)
    rings = job(tmp_path, ranks=3, steps=fault.stop - 1, faults=[fault], longer=longer)
    with looked_at(rings) as run:
        one = blamed(stragglers(run.diagnosis), fault)
    assert (one.rank, one.phase, one.cause) == (2, "forward", "compute")
    # While its batches were longer its times alone set it apart, and were not held against it.
    before = [record for record in records(rings) if record[0] < longer.stop]
    apart = excess(before, 2, longer.first)
    assert apart > 0.1
    diagnosis = RunDiagnosis(3)
    for _, rank, values in before:
        diagnosis.add(rank, values)
    assert [one for one in stragglers(diagnosis) if one.rank == 2 and one.share > apart] == []
