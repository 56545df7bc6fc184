"""Asks, launches, watches, stops, reports, until the tuner says that the study is done."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from paceline_exporters.messages import Outcome

from ..client import TunerAway, TunerClient, patiently
from .local import LocalLauncher, LocalRun
from .words import describe

HEARTBEAT_SECONDS = 2.0
POLL_SECONDS = 0.2
AWAY_SECONDS = 600.0
"""How long a submitter waits for a tuner that is away before it gives up; running jobs go on meanwhile."""
ADOPT_SECONDS = 60.0
"""How long a resumed submitter waits for a supervisor that its predecessor left behind."""


def client_id(root: Path) -> str:
    """The name under which this study directory's submitters are known to the tuner, kept across restarts."""
    path = root / "client_id"
    if not path.exists():
        root.mkdir(parents=True, exist_ok=True)
        path.write_text(f"local-{uuid.uuid4().hex[:12]}")
    return path.read_text().strip()


Say = Callable[[str], None]


@dataclass
class SubmitLoop:
    """One submitter of one study."""

    study: str
    tuner: TunerClient
    launcher: LocalLauncher
    client: str
    parallel: int
    say: Say
    tick: Callable[[], None] = lambda: None
    """Called a few times per second: progress, and what keeps a private tuner alive."""
    running: dict[str, LocalRun] = field(default_factory=dict)
    _heard: dict[str, float] = field(default_factory=dict)
    _ask_at: float = 0.0
    _request: str = ""
    _done: str = ""

    def run(self) -> str:
        """Until the study is done; returns the tuner's reason. Raises TunerAway, TunerRefused."""
        self._resume()
        while not self._done or self.running:
            self._watch()
            self._launch()
            self.tick()
            time.sleep(POLL_SECONDS)
        return self._done

    def abandon(self) -> None:
        """End all runs and say so; the study can be resumed."""
        for run in list(self.running.values()):
            run.abandon(30.0)
            self._end(run, Outcome("interrupted", "interrupted", "the submitter was interrupted"), [])

    def _resume(self) -> None:
        """Close what a predecessor left: deliver outcomes it could not, give back what it never started."""
        for item in patiently(lambda: self.tuner.open_runs(self.study, self.client), AWAY_SECONDS):
            run_id = item["proposal"]["run_id"]
            directory = self.launcher.directory(run_id)
            deadline = time.monotonic() + ADOPT_SECONDS
            while directory.supervised() and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            said = directory.outcome()
            outcome, unsent = said or (Outcome("interrupted", "interrupted", "its submitter was killed"), [])
            self._deliver(run_id, outcome, unsent)
            self.say(f"{run_id}: taken up again, {outcome.state}")

    def _launch(self) -> None:
        if self._done or len(self.running) >= self.parallel or time.monotonic() < self._ask_at:
            return
        self._request = self._request or uuid.uuid4().hex
        answer = self._ask()
        if answer is None:
            return
        self._request = ""
        if "proposal" in answer:
            run = self.launcher.start(answer["proposal"])
            self.running[run.run_id] = run
            self.say(f"{run.run_id}: {describe(answer['proposal'])}")
        elif answer.get("done"):
            self._done = str(answer["reason"])
        else:
            self._ask_at = time.monotonic() + min(5.0, float(answer["wait_seconds"]))

    def _ask(self) -> dict[str, Any] | None:
        """The answer, None while the tuner is away (the same request is then made again)."""
        try:
            return self.tuner.ask(self.study, self.client, self._request, str(self.launcher.output_root))
        except TunerAway:
            if not self.running:  # nothing else to watch meanwhile
                patiently(lambda: self.tuner.study(self.study), AWAY_SECONDS)
            return None

    def _watch(self) -> None:
        for run in list(self.running.values()):
            ended = run.ended()
            if ended is not None:
                self._end(run, *ended)
            elif time.monotonic() - self._heard.get(run.run_id, 0.0) > HEARTBEAT_SECONDS:
                self._heartbeat(run)

    def _heartbeat(self, run: LocalRun) -> None:
        self._heard[run.run_id] = time.monotonic()
        try:
            decision = self.tuner.heartbeat(run.run_id)
        except TunerAway:
            return  # the job goes on; the lease is longer than a restart of the tuner
        run.progress = decision.progress
        if decision.action == "stop" and not run.stopped_because:
            self.say(f"{run.run_id}: stopping: {decision.reason}")
            run.stop(decision.reason)

    def _end(self, run: LocalRun, outcome: Outcome, unsent: list[dict[str, Any]]) -> None:
        answer = self._deliver(run.run_id, outcome, unsent)
        del self.running[run.run_id]
        state, reason = answer.get("outcome") or outcome.state, answer.get("reason") or outcome.detail
        self.say(f"{run.run_id}: {state}{': ' if reason else ''}{reason}")
        if outcome.state == "failed":
            self.say(f"{run.run_id}: log at {run.directory.log}")

    def _deliver(self, run_id: str, outcome: Outcome, unsent: list[dict[str, Any]]) -> Mapping[str, Any]:
        for report in unsent:
            patiently(partial(self.tuner.post_report, report), AWAY_SECONDS)
        answer: Mapping[str, Any] = patiently(lambda: self.tuner.end(run_id, outcome), AWAY_SECONDS)
        return answer
