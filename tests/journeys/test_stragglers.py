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
from paceline_exporters.diagnosis.jobsteps import FieldValues
from paceline_exporters.diagnosis.run import RunDiagnosis
from paceline_exporters.following import Followers
from paceline_exporters.rings import RingDirectory

pytest.importorskip("torch", reason="trains: pip install 'paceline[demo]'")
pytestmark = pytest.mark.slow

LEARNT = 81
"""From this step on, after five seconds of 0.06 s each, the diagnosis knows what is normal."""
# All work is sleep: ranks share a few cores with other programs, and a sleep takes no turn from anybody.
JOB = """
import json, sys, time
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

faults, longer, steps = map(json.loads, sys.argv[1:])
EXTRA, LOADING, PER_TOKEN = 0.04, 0.005, 0.0004
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
dist.destroy_process_group()
"""


class Fault(NamedTuple):
    """More than a third of each step from `first` on and before `stop`."""

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
        timeout=200,
    )
    # Gloo's threads now and then abort a process that is done: the records say whether it trained.
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


def stragglers(made: Sequence[tuple[int, int, FieldValues]], ranks: int) -> set[int | None]:
    """Ranks that these records blame."""
    diagnosis = RunDiagnosis(ranks)
    for _, rank, values in made:
        diagnosis.add(rank, values)
    return {finding.rank for finding in diagnosis.findings if finding.kind == "straggler"}


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
    faults = [
        Fault("data_wait", 1, LEARNT, LEARNT + 30),
        Fault("forward", 0, LEARNT + 30, LEARNT + 60),
        Fault("backward", 1, LEARNT + 60, LEARNT + 90),
    ]
    causes = ("data", "compute", "compute")
    with looked_at(job(tmp_path, ranks=2, steps=LEARNT + 89, faults=faults)) as run:
        found = [finding for finding in run.diagnosis.findings if finding.kind == "straggler"]
        verdict = run.diagnosis.verdict()
    assert [(one.phase, one.rank, one.cause) for one in found] == [
        (fault.phase, fault.rank, cause) for fault, cause in zip(faults, causes, strict=True)
    ]
    for one, fault in zip(found, faults, strict=True):
        assert fault.first <= one.found_step < fault.stop
        assert one.share > 0.1
    assert verdict.kind == "straggler"
    assert ("backward", 1) in {(one.phase, one.rank) for one in verdict.findings}


def test_a_rank_with_longer_batches_is_no_straggler_until_it_is_slow(tmp_path: Path) -> None:
    longer = Longer(2, LEARNT, LEARNT + 30)
    fault = Fault("forward", 2, longer.stop, longer.stop + 35)
    rings = job(tmp_path, ranks=3, steps=fault.stop - 1, faults=[fault], longer=longer)
    with looked_at(rings) as run:
        (found,) = (finding for finding in run.diagnosis.findings if finding.kind == "straggler")
    assert (found.rank, found.phase, found.cause) == (2, "forward", "compute")
    assert fault.first <= found.found_step < fault.stop
    # While its batches were longer its times alone set it apart, and were not held against it.
    before = [record for record in records(rings) if record[0] < longer.stop]
    assert excess(before, 2, longer.first) > 0.1
    assert stragglers(before, 3) == set()
