"""Asks, launches, watches, stops, reports, until the tuner says that the study is done."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from paceline_exporters.messages import Outcome

from ..client import TunerAway, TunerClient, TunerRefused, patiently
from .local import LocalLauncher, LocalRun
from .words import describe

HEARTBEAT_SECONDS = 2.0
POLL_SECONDS = 0.2
AWAY_SECONDS = 600.0
"""How long a submitter waits for a tuner that is away before it gives up; running jobs go on meanwhile."""
PARTING_SECONDS = 10.0
"""The same for a submitter that was interrupted: what it cannot say now, it says when it is started again."""
ADOPT_SECONDS = 90.0
"""How long a resumed submitter waits for a supervisor that its predecessor left behind: that ends the job first,
and then tries for a minute to deliver."""


def client_id(root: Path) -> str:
    """The name under which this study directory's submitters are known to the tuner, kept across restarts."""
    path = root / "client_id"
    if not path.exists():
        root.mkdir(parents=True, exist_ok=True)
        path.write_text(f"local-{uuid.uuid4().hex[:12]}")
    return path.read_text().strip()


Say = Callable[[str], None]
T = TypeVar("T")


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
    _away: bool = False
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
        """End all runs and say so; the study can be resumed. Raises TunerAway, TunerRefused."""
        for run in self.running.values():
            run.stop("the submitter ends")
        for run in list(self.running.values()):
            run.abandon(30.0)
            outcome, unsent = run.ended() or (None, [])
            if outcome is None or outcome.state != "finished":
                outcome = Outcome("interrupted", "interrupted", "the submitter was interrupted")
            self._end(run, outcome, unsent, PARTING_SECONDS)

    def _resume(self) -> None:
        """Close what a predecessor left: deliver outcomes it could not, give back what it never started."""
        for item in self._patiently(lambda: self.tuner.open_runs(self.study, self.client)):
            run_id = item["proposal"]["run_id"]
            directory = self.launcher.directory(run_id)
            deadline = time.monotonic() + ADOPT_SECONDS
            while directory.supervised() and time.monotonic() < deadline:
                self.tick()
                time.sleep(POLL_SECONDS)
            said = directory.outcome()
            if said is None:
                directory.end_orphans()
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
        ask = partial(self.tuner.ask, self.study, self.client, self._request, str(self.launcher.output_root))
        try:
            return ask()
        except TunerAway as error:
            self._meanwhile(error)
            return None if self.running else self._patiently(ask)  # runs want to be watched meanwhile

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
        except TunerAway as error:
            self._say_away(error)
            return  # the job goes on; the lease is longer than a restart of the tuner
        self._say_back()
        run.progress = decision.progress
        if decision.action == "stop" and not run.stopped_because:
            self.say(f"{run.run_id}: stopping: {decision.reason}")
            run.stop(decision.reason)

    def _end(
        self, run: LocalRun, outcome: Outcome, unsent: list[dict[str, Any]], seconds: float = AWAY_SECONDS
    ) -> None:
        answer = self._deliver(run.run_id, outcome, unsent, seconds)
        del self.running[run.run_id]
        state, reason = answer.get("outcome") or outcome.state, answer.get("reason") or outcome.detail
        self.say(f"{run.run_id}: {state}{': ' if reason else ''}{reason}")
        if state in ("failed", "rejected"):
            self.say(f"{run.run_id}: log at {run.directory.log}")

    def _deliver(
        self, run_id: str, outcome: Outcome, unsent: list[dict[str, Any]], seconds: float = AWAY_SECONDS
    ) -> Mapping[str, Any]:
        for report in unsent:
            try:
                self._patiently(partial(self.tuner.post_report, report), seconds)
            except TunerRefused as error:  # it never will be taken; how the run ended must be told all the same
                self.say(f"{run_id}: a report of its steps was refused: {error}")
        return self._patiently(lambda: self.tuner.end(run_id, outcome), seconds)

    def _patiently(self, call: Callable[[], T], seconds: float = AWAY_SECONDS) -> T:
        answer = patiently(call, seconds, self._meanwhile)
        self._say_back()
        return answer

    def _meanwhile(self, error: TunerAway) -> None:
        """While the tuner is away: let whoever keeps it alive do so."""
        self._say_away(error)
        self.tick()

    def _say_away(self, error: TunerAway) -> None:
        if not self._away:
            self.say(f"waiting for the tuner: {error}")
        self._away = True

    def _say_back(self) -> None:
        if self._away:
            self.say("the tuner answers again")
        self._away = False
