"""Real Python processes with our hooks in them, and what they left in their rings."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import paceline_exporters.attach
from paceline_exporters.attach import layout
from paceline_exporters.messages import Event
from paceline_exporters.rings import RingDirectory

ATTACH = Path(paceline_exporters.attach.__file__).parent
TINY = """
import json, os, sys
from pathlib import Path
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

class Numbers(torch.utils.data.Dataset):
    def __init__(self, size=64):
        self.size = size
    def __len__(self):
        return self.size
    def __getitem__(self, index):
        ids = (torch.arange(16) * (index + 1)) % 64
        return {"input_ids": ids, "labels": ids}

def model():
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=64, n_positions=16, n_embd=32, n_layer=1, n_head=2,
                                      bos_token_id=0, eos_token_id=0, loss_type="ForCausalLM"))

def arguments(**changes):
    given = dict(output_dir=sys.argv[1], use_cpu=True, max_steps=4, per_device_train_batch_size=2,
                 save_strategy="no", disable_tqdm=True, logging_steps=1, report_to="none")
    return TrainingArguments(**{**given, **changes})

def trainer(args=None, cls=Trainer, **more):
    return cls(model=model(), args=args or arguments(), train_dataset=Numbers(), eval_dataset=Numbers(8), **more)
"""
"""A job's beginning: a model and a data set of a few kilobytes."""


@dataclass(frozen=True)
class Ring:
    """What a rank left."""

    header: Mapping[str, Any]
    steps: Sequence[Mapping[str, float]]
    events: Sequence[Event]

    def kinds(self) -> list[str]:
        """Of its events, in order."""
        return [event.kind for event in self.events]

    def event(self, kind: str) -> Event:
        """The only event of its kind."""
        (found,) = [event for event in self.events if event.kind == kind]
        return found


@dataclass(frozen=True)
class Told:
    """How a process ended."""

    status: int
    output: str
    """Standard output and error."""
    directory: Path
    """The job's own, with `out` and `rings` in it."""
    outcome: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rings(self) -> list[Ring]:
        """By rank, then by start."""
        directory = RingDirectory(self.directory / "rings")
        try:
            return sorted(map(_ring, directory.scan().rings.values()), key=_place)
        finally:
            directory.close()

    def notices(self) -> list[str]:
        """Our lines."""
        return [line for line in self.output.splitlines() if line.startswith("paceline: ")]

    def printed(self) -> Any:
        """The JSON on the line that begins with `RESULT `."""
        (line,) = [line for line in self.output.splitlines() if line.startswith("RESULT ")]
        return json.loads(line.removeprefix("RESULT "))


def _ring(reader: Any) -> Ring:
    header = reader.header()
    assert header is not None
    rows = reader.steps(0, reader.cursors()[0])
    steps = [dict(zip(layout.STEP_FIELDS, row, strict=True)) for row in rows if row is not None]
    return Ring(header.data, steps, reader.events(0))


def _place(ring: Ring) -> tuple[int, float]:
    return ring.header["rank"], ring.header["started"]


Run = Callable[..., Told]


def clean_environment() -> dict[str, str]:
    """This process's environment without what an outer run may have left in it."""
    strange = ("PACELINE_", "PYTHONPATH", "RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_", "TORCHELASTIC_")
    return {name: value for name, value in os.environ.items() if not name.startswith(strange)}


def start(
    command: Sequence[str | Path],
    directory: Path,
    environment: Mapping[str, str] | None = None,
    patience: float = 280.0,
) -> subprocess.CompletedProcess[str]:
    """Run to the end; what it says goes to a file, which no orphan can keep us waiting for."""
    with (directory / "said.txt").open("w") as said:
        process = subprocess.Popen(
            [str(word) for word in command],
            env={**clean_environment(), "OMP_NUM_THREADS": "1", **(environment or {})},
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
    try:
        status = process.wait(patience)
    except subprocess.TimeoutExpired:
        process.terminate()  # a launcher takes its ranks with it
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(40.0)
        raise
    finally:
        process.kill()
        process.wait()
    return subprocess.CompletedProcess(process.args, status, (directory / "said.txt").read_text())


def run_in(
    directory: Path,
    script: str,
    *arguments: str,
    proposal: Mapping[str, Any] | str | None = None,
    environment: Mapping[str, str] | None = None,
    python: Sequence[str] = (sys.executable,),
) -> Told:
    """Run a script with our hooks on PYTHONPATH, its first argument a path of its own."""
    (directory / "job.py").write_text(script)
    variables = {"PYTHONPATH": str(ATTACH / "path"), "PACELINE_RING_DIR": str(directory / "rings")}
    if proposal is not None:
        variables["PACELINE_PROPOSAL"] = proposal if isinstance(proposal, str) else json.dumps(proposal)
    command: list[str | Path] = [*python, directory / "job.py", directory / "out", *arguments]
    done = start(command, directory, {**variables, **(environment or {})})
    return Told(done.returncode, done.stdout, directory)


@pytest.fixture(scope="session")
def run_attached() -> Run:
    """Runs a script in a directory of the test's choice, for jobs that several tests look at."""
    return run_in


@pytest.fixture
def attached(tmp_path: Path) -> Run:
    """Runs a script with our hooks on PYTHONPATH, as `attached("print(1)", proposal={...})`."""
    return functools.partial(run_in, tmp_path)


@pytest.fixture(scope="session")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a script on two ranks under `paceline run` and torchrun; with `attach=False` under torchrun alone."""

    def run(
        script: str | Path,
        *arguments: str,
        proposal: Mapping[str, Any] | None = None,
        attach: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> Told:
        directory = tmp_path_factory.mktemp("job")
        if isinstance(script, str):
            (directory / "job.py").write_text(script)
            script = directory / "job.py"
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command: list[str | Path] = [*torchrun, script]
        command += [argument.replace("OUT", str(directory / "out")) for argument in arguments]
        if attach:
            flags = ["--rings.directory", directory / "rings", "--outcome", directory / "outcome.json"]
            flags += ["--proposal", json.dumps(proposal)] if proposal is not None else []
            command = [sys.executable, "-m", "paceline_exporters", "run", *flags, "--", *command]
        for more in (3, 2, 1, 0):
            for left in ("rings", "out"):
                shutil.rmtree(directory / left, ignore_errors=True)
            # Gloo's threads abort or wait for ever in one exit of seven, with us and without.
            try:
                done = start(command, directory, environment, patience=140.0)
            except subprocess.TimeoutExpired:
                if not more:
                    raise
            else:
                if "terminate called without an active exception" not in done.stdout:
                    break
        outcome = json.loads((directory / "outcome.json").read_text()) if attach else {}
        return Told(done.returncode, done.stdout, directory, outcome)

    return run


@pytest.fixture(scope="session")
def tiny_job() -> str:
    """The beginning of a small script."""
    return TINY


@pytest.fixture(scope="session")
def attach_directory() -> Path:
    """Where the code under test lies."""
    return ATTACH


def make_proposal(**sections: Any) -> dict[str, Any]:
    """A proposal as the tuner would send it."""
    return {"schema": 1, "study": "s", "trial": 1, "run_id": "run-of-a-trial", "kind": "trial", **sections}


@pytest.fixture(scope="session")
def proposal() -> Callable[..., dict[str, Any]]:
    """Makes a proposal, as `proposal(arguments={"learning_rate": 0.1})`."""
    return make_proposal
