"""Real DDP jobs across machines whose network is throttled while they train, seen by an agent on each of them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Protocol

import pytest
from machines import Machines, NotAllowed

from paceline_exporters.diagnosis.explanation import Explanation
from paceline_exporters.diagnosis.findings import Cause, Finding

pytest.importorskip("torch", reason="trains: pip install 'paceline[demo]'")
pytestmark = pytest.mark.slow

PATIENCE = 180.0
"""Seconds that a test waits for what must come; no test measures time."""
LEARNT = 150
"""From this step on the diagnosis knows what is normal, noise included."""
MEGABITS = 100
"""Per second, of a throttled link."""
THROTTLED = 0.1
"""Seconds that a step waits for a throttled link at least: two megabytes at 100 Mbit/s take 0.16 s. What others
do on a test's machine makes a job's network slower as well, by milliseconds for a second or two: found, and no
concern of these tests."""
SLOWED = 0.4
"""Share of the step that a throttled link costs at least; where a single step was held up, the mean is less."""
PORT = 19470
# Computing is sleep: ranks share a few cores with other programs, and a sleep takes no turn from anybody. Two
# megabytes of gradients, all of them ready at the end of backward: nothing hides what the network takes.
JOB = """
import os, sys, time
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

torch.set_num_threads(1)
dist.init_process_group("gloo")

class Rows(Dataset):
    def __len__(self):
        return int(sys.argv[1])
    def __getitem__(self, index):
        return torch.ones(512)

class Work(torch.autograd.Function):
    @staticmethod
    def forward(context, x):
        time.sleep(0.02)
        return x.clone()
    @staticmethod
    def backward(context, gradient):
        time.sleep(0.04)
        return gradient

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.large = torch.nn.Linear(512, 1024)
    def forward(self, x):
        return Work.apply(self.large(x))

model = DistributedDataParallel(Model())
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for rows in DataLoader(Rows()):
    model(rows).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
dist.barrier()
os._exit(0)  # gloo's own teardown aborts or hangs now and then
"""


class Job:
    """One rank and one agent on each machine; `close` ends them."""

    def __init__(self, directory: Path, machines: Machines, steps: int) -> None:
        self._directory, self.machines = directory, machines
        self._processes: list[subprocess.Popen[str]] = []
        strange = ("PACELINE_", "PYTHONPATH", "RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_", "TORCHELASTIC_")
        self._kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
        script = directory / "job.py"
        script.write_text(JOB)
        for number in range(len(machines.names)):
            where = ["--rings.directory", str(directory / f"rings-{number}")]
            place = [f"--state.directory={directory}/state-{number}", f"--web.listen-address=0.0.0.0:{PORT}"]
            self._start(number, "agent", ["agent", *where, *place])
            self._start(number, "job", ["run", *where, "--", sys.executable, str(script), str(steps)])

    def close(self) -> None:
        """Kill what still runs."""
        for process in self._processes:
            process.kill()
            process.wait()

    def trained(self) -> bool:
        """Whether all ranks ended well; fails where one did not."""
        jobs = self._processes[1::2]
        assert all(process.poll() in (None, 0) for process in jobs), self._said("job")
        return all(process.poll() == 0 for process in jobs)

    def explained(self, *words: str) -> str:
        """What `paceline explain` prints, asked on the first machine; empty where there is no answer yet."""
        agents = [word for address in self.machines.addresses for word in ("--agent", f"http://{address}:{PORT}")]
        command = [sys.executable, "-m", "paceline_exporters", "explain", *agents, *words]
        done = subprocess.run(
            self.machines.command(0, command), env=self._kept, capture_output=True, text=True, check=False
        )
        return done.stdout

    def explanation(self) -> Explanation | None:
        """The same to work with; None also while not all machines know of the run."""
        printed = self.explained("--json")
        found = Explanation.decode(json.loads(printed)) if printed else None
        return found if found and len(found.ranks) == len(self.machines.names) else None

    def until(self, holds: Callable[[Explanation], bool], what: str) -> Explanation:
        """The first explanation for which `holds`."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = self.explanation()
            if found is not None and holds(found):
                return found
            ended = [process.args for process in self._processes if process.poll() not in (None, 0)]
            assert not ended, (ended, self._said("agent"), self._said("job"))
            assert time.monotonic() < deadline, f"never happened: {what}; {self.explained()} {self._said('job')}"
            time.sleep(0.5)

    def _start(self, number: int, kind: str, words: list[str]) -> None:
        rank = {
            "RANK": str(number),
            "LOCAL_RANK": "0",
            "WORLD_SIZE": str(len(self.machines.names)),
            "MASTER_ADDR": self.machines.addresses[0],
            "MASTER_PORT": "29500",
            "GLOO_SOCKET_IFNAME": "eth0",
            "OMP_NUM_THREADS": "1",
        }
        with (self._directory / f"{kind}-{number}.log").open("w") as log:
            self._processes.append(
                subprocess.Popen(
                    self.machines.command(number, [sys.executable, "-m", "paceline_exporters", *words]),
                    env={**self._kept, **(rank if kind == "job" else {})},
                    cwd=self._directory,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )

    def _said(self, kind: str) -> str:
        return "\n".join(path.read_text() for path in sorted(self._directory.glob(f"{kind}-*.log")))


class Start(Protocol):
    """Starts a job with a rank on each of so many machines; unless told otherwise it outlasts the test."""

    def __call__(self, ranks: int, steps: int = 20_000) -> Job: ...


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """See `Start`; what was started is ended with the test."""
    with ExitStack() as stack:

        def begin(ranks: int, steps: int = 20_000) -> Job:
            try:
                machines = stack.enter_context(Machines(ranks))
            except NotAllowed as error:
                pytest.skip(f"no machines of the test's own: {error}")
            return stack.enter_context(closing(Job(tmp_path, machines, steps)))

        yield begin


def slower(found: Explanation) -> Finding | None:
    """The finding of slower communication that holds."""
    return next((one for one in found.verdict.findings if one.kind == "communication"), None)


def exposed(finding: Finding) -> float:
    """Seconds per step that nothing hid."""
    return finding.numbers["exposed_seconds"]


def throttlings(found: Explanation) -> list[Finding]:
    """The findings so far of communication as slow as a throttled link makes it."""
    slower = [one for one in found.history if one.kind == "communication" and one.share > SLOWED]
    return [one for one in slower if exposed(one) > THROTTLED]


def throttled(job: Job, throttle: Callable[[int, int], None], rank: int | None, cause: Cause) -> Finding:
    """Learn, throttle rank 1's link, and what is found then; it blames `rank` for `cause`."""
    before = job.until(
        lambda found: bool(found.steps) and found.steps[-1] >= LEARNT and slower(found) is None, "the job trains"
    )
    assert throttlings(before) == []
    throttle(1, MEGABITS)
    # Whoever was held up sends again too: whom it is laid to is as it should be once that is over.
    after = job.until(
        lambda found: (one := slower(found)) is not None and (one.rank, one.cause) == (rank, cause), "it is found"
    )
    finding = slower(after)
    assert finding is not None
    assert before.steps[-1] < finding.found_step
    assert exposed(finding) > max(THROTTLED, 2 * finding.numbers["normal_seconds"])
    assert after.verdict.kind == "communication_bound"
    slow = [one for one in after.history if one.kind == "straggler" and one.since_step >= finding.since_step]
    assert not [one for one in slow if one.share > SLOWED], "what the link costs is laid to no rank's own work"
    return finding


def test_a_switch_that_loses_what_a_rank_sends(start: Start) -> None:
    job = start(2)
    finding = throttled(job, job.machines.throttle_port, rank=1, cause="degraded_nic")
    assert finding.node == "node-1"
    assert finding.numbers["tcp_retransmits_per_second"] > 10.0
    said = job.explained()
    assert ": communication bound (2 of 2 ranks on 2 nodes, " in said
    assert re.search(r"Since step \d+ it is \S+ s instead of \S+ s, \d\d% of the step more; ", said)
    assert "cause: degraded nic on rank 1's node." in said
    assert re.search(r"holds  communication rank 1 on node-1, cause degraded nic, since step \d+", said)
    assert re.search(r"rank 1, tcp retransmits \S+/s", said)
    job.machines.release_port(1)
    over = job.until(lambda found: slower(found) is None, "the link is as before")
    assert throttlings(over)


def test_a_device_that_became_slow_and_loses_nothing(start: Start) -> None:
    """All three ranks wait for it alike, and no counter tells whose it is: nobody is blamed."""
    job = start(3)
    throttled(job, job.machines.throttle_device, rank=None, cause="communication")
    said = r"holds  communication, cause communication, since step \d+"
    job.until(lambda _: re.search(said, job.explained()) is not None, "it is said")


def test_a_link_that_stays_as_it_is(start: Start) -> None:
    job = start(2, steps=3 * LEARNT)
    found = job.until(lambda found: job.trained() and not found.alive, "it trained to its end")
    assert found.steps[-1] > 3 * LEARNT - 10
    assert throttlings(found) == []
