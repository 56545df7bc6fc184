"""Live progress of a study: what runs, with which knobs, how fast, the best so far, how long it will take.

On a terminal the last lines redraw themselves; elsewhere (a log, CI) each thing that happens is one line.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..client import TunerAway, TunerClient, TunerRefused
from .local import LocalRun
from .words import describe

REFRESH_SECONDS = 1.0


class Progress:
    """A block in which progress is shown."""

    def __init__(self, tuner: TunerClient, study: str, running: Mapping[str, LocalRun], console: Console) -> None:
        self._tuner, self._study, self._running, self._console = tuner, study, running, console
        self._began = time.monotonic()
        self._refresh_at = 0.0
        self._view: dict[str, Any] = {}
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        """Start to draw."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing."""
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """One line that stays."""
        elapsed = time.monotonic() - self._began
        self._console.print(Text(f"{elapsed:6.1f} s  {text}"), soft_wrap=True)

    def tick(self) -> None:
        """Called often; looks about once a second, and draws, or says a line when a run has ended."""
        if time.monotonic() < self._refresh_at:
            return
        self._refresh_at = time.monotonic() + REFRESH_SECONDS
        before = runs_done(self._view)[0] if self._view else 0
        try:
            self._view = self._tuner.study_brief(self._study)
        except (TunerAway, TunerRefused):
            return  # the next look may succeed; the loop itself says when the tuner stays away
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)
        elif runs_done(self._view)[0] != before:
            self.say(standing(self._view, time.monotonic() - self._began))

    def _picture(self) -> Group:
        view = self._view
        done, total = runs_done(view)
        line = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=max(total, 1), completed=done, width=30)
        line.add_row(bar, standing(view, time.monotonic() - self._began))
        return Group(
            *(Text(self._row(run), overflow="ellipsis", no_wrap=True) for run in self._running.values()), line
        )

    def _row(self, run: LocalRun) -> str:
        seen = run.progress
        rate = seen.get("throughput")
        at = f"step {seen['step']:.0f} of {seen['steps']:.0f}" if "step" in seen else "starting"
        speed = "" if rate is None else f", {rate:.4g}/s"
        return f"{run.run_id}  {at}{speed}  {describe(run.proposal)}"


def standing(view: Mapping[str, Any], elapsed: float) -> str:
    """Where a study stands, in one line."""
    done, total = runs_done(view)
    known = f"best {value(view.get('best'))}, default {value(view.get('default'))}"
    return f"{view['state']}: {done} of {total} runs, {known}, {time_left(view, elapsed)}"


def value(trial: Mapping[str, Any] | None) -> str:
    """A trial's value, `n/a` while there is none."""
    return "n/a" if not trial or trial.get("value") is None else f"{trial['value']:.5g}"


def runs_done(view: Mapping[str, Any]) -> tuple[int, int]:
    """Runs closed and runs expected: the trials, then two a pair."""
    progress = view["progress"]
    pairs = view["spec"]["proof"]["min_pairs"] if view["spec"]["proof"]["max_pairs"] else 0
    pairs = max(pairs, progress["pairs"])
    proving = 2 * pairs if view["state"] in ("search", "proof") else 2 * progress["pairs"]
    return progress["trials"] + 2 * progress["pairs"], progress["of_trials"] + proving


def time_left(view: Mapping[str, Any], elapsed: float) -> str:
    """From the mean run so far; a guess, and said so."""
    done, total = runs_done(view)
    if not done:
        return "time left n/a"
    left = elapsed / done * max(0, total - done)
    return f"about {left / 60:.0f} min left" if left >= 90 else f"about {left:.0f} s left"
