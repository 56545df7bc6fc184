"""The local launcher: each run is a `paceline run` of its own on this machine, with its directory and log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paceline_exporters.messages import MessageError, Outcome
from paceline_exporters.processes import kill_marked

from ..client import TunerClient

PARTING_SECONDS = 5.0
"""What a supervisor is given to deliver its last reports when the submitter was interrupted."""


@dataclass(frozen=True)
class RunDirectory:
    """Where a run's files are: proposal, log, outcome, and the pid of its supervisor."""

    path: Path

    @property
    def log(self) -> Path:
        """Standard output and error of the job."""
        return self.path / "log.txt"

    def outcome(self) -> tuple[Outcome, list[dict[str, Any]]] | None:
        """How the run ended and the reports its supervisor could not deliver; None while it has not said."""
        try:
            data = json.loads((self.path / "outcome.json").read_text())
            return Outcome.decode(data), list(data.get("unsent", []))
        except FileNotFoundError:
            return None
        except (ValueError, MessageError) as error:
            return Outcome("failed", "crash", f"{self.path / 'outcome.json'} is unreadable: {error}"), []

    def supervised(self) -> bool:
        """Whether the supervisor that was started for this run still lives."""
        try:
            pid = int((self.path / "pid").read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return False
        return str(self.path).encode() in command

    def end_orphans(self) -> None:
        """SIGKILL to what is left of a job whose supervisor was killed: the next run would share the machine."""
        kill_marked(f'"run_id": {json.dumps(self.path.name)}'.encode())


@dataclass
class LocalRun:
    """A run on this machine."""

    run_id: str
    proposal: Mapping[str, Any]
    directory: RunDirectory
    process: subprocess.Popen[bytes]
    stopped_because: str = ""
    progress: Mapping[str, float] = field(default_factory=dict)
    """What the tuner last said of it: step, steps, throughput."""

    def ended(self) -> tuple[Outcome, list[dict[str, Any]]] | None:
        """How it ended, None while it runs."""
        status = self.process.poll()
        if status is None:
            return None
        self._release()
        said = self.directory.outcome()
        if said is not None:
            return said
        self.directory.end_orphans()
        if self.stopped_because:  # before the supervisor could listen
            return Outcome("interrupted", "stopped", f"stopped: {self.stopped_because}", status), []
        text = (
            f"paceline run ended with status {status} and left no outcome.json in {self.directory.path}: "
            f"see {self.directory.log.name} there, and whether the disk is full"
        )
        return Outcome("failed", "killed", text, status), []

    def stop(self, reason: str) -> None:
        """Ask for the end of all ranks; `ended` says when it is done."""
        if not self.stopped_because:
            self.stopped_because = reason
            self.process.send_signal(signal.SIGTERM)

    def abandon(self, seconds: float) -> None:
        """Stop and wait; the supervisor kills what does not end by itself.

        Once it has said how the job ended it is given a few seconds more for what it has to deliver: nobody who
        interrupts a study waits for a tuner that is away.
        """
        self.stop("the submitter ends")
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            if self.directory.outcome() is not None:
                deadline = min(deadline, time.monotonic() + PARTING_SECONDS)
            time.sleep(0.1)
        self.process.kill()
        self.process.wait()
        self._release()

    def _release(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()


@dataclass(frozen=True)
class LocalLauncher:
    """Starts runs of one study."""

    root: Path
    """The study's directory; runs/<run_id>/ below it is a run's own."""
    command: Sequence[str]
    tuner: TunerClient
    agent: str
    """URL of this node's agent; it need not be there."""
    environment: Mapping[str, str] = field(default_factory=dict)

    def directory(self, run_id: str) -> RunDirectory:
        """Of one run."""
        return RunDirectory(self.runs / run_id)

    @property
    def runs(self) -> Path:
        """The runs' directories are here."""
        return self.root / "runs"

    @property
    def output_root(self) -> Path:
        """Stands in for the job's output_dir in trials."""
        return self.root / "output"

    def start(self, proposal: Mapping[str, Any]) -> LocalRun:
        """Launch the job with a proposal; raises OSError when its directory cannot be written."""
        run_id = str(proposal["run_id"])
        directory = self.directory(run_id)
        directory.path.mkdir(parents=True, exist_ok=True)
        (directory.path / "outcome.json").unlink(missing_ok=True)
        (directory.path / "proposal.json").write_text(json.dumps(proposal, indent=1))
        with directory.log.open("ab") as log:
            process = subprocess.Popen(
                self._supervisor(directory.path),
                stdin=subprocess.PIPE,  # the leash: it closes when we are gone, however we went
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )
        (directory.path / "pid").write_text(str(process.pid))
        return LocalRun(run_id, proposal, directory, process)

    def _supervisor(self, path: Path) -> list[str]:
        ours = [sys.executable, "-m", "paceline_exporters", "run", "--leash", "--quiet"]
        flags = ["--proposal", path / "proposal.json", "--outcome", path / "outcome.json"]
        urls = ["--tuner", self.tuner.url, "--agent", self.agent]
        return [str(word) for word in (*ours, *flags, *urls, "--", *self.command)]
