"""Posts the run's windows to the tuner, unless an agent on this node that belongs to the same tuner does."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from paceline_exporters.messages import Acknowledgement, MessageError, Report, RingMark, RingReport

from ..reports import START, ring_report
from .rings import OwnRing, OwnRings

# Agent and tuner are neighbours: a proxy for the world outside would be in the way.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class ReportingSettings:
    """Where and how often."""

    tuner: str
    """URL of the tuner."""
    agent: str
    """URL of this node's agent; it need not be there."""
    node: str
    period_seconds: float = 1.0
    """Between reports."""
    agent_wait_seconds: float = 10.0
    """A ring that the agent does not list by then is ours to report."""
    request_seconds: float = 5.0
    """Deadline of one request."""
    flush_seconds: float = 60.0
    """How long the last reports are tried for after the command ended, while the tuner is away."""


@dataclass
class _Known:
    since: float
    mark: RingMark | None = None
    ours: bool = False


@dataclass
class Reporter:
    """Runs in a thread of its own beside the supervised command."""

    settings: ReportingSettings
    rings: OwnRings
    _known: dict[str, _Known] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to report."""
        self._thread = threading.Thread(target=self._loop, name="reporter", daemon=True)
        self._thread.start()

    def finish(self) -> list[dict[str, Any]]:
        """Report what is left, whoever reported so far; returns the reports that could not be delivered."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        deadline = time.monotonic() + self.settings.flush_seconds
        while not self._report(everything=True):
            if time.monotonic() > deadline:
                return self._undelivered()
            time.sleep(self.settings.period_seconds)
        return []

    def _undelivered(self) -> list[dict[str, Any]]:
        """All that the tuner has not acknowledged, in reports of the usual size."""
        found, reports = self.rings.find(), []
        while (report := self._news(found, everything=True)) is not None:
            reports.append(report.encode())
            for item in report.rings:
                self._known[item.ring].mark = _after(item, self._known[item.ring].mark)
        return reports

    def _loop(self) -> None:
        while not self._ended.wait(self.settings.period_seconds):
            self._report(everything=False)

    def _report(self, everything: bool) -> bool:
        """One round; True when nothing is left to say."""
        found = self.rings.find()
        if not everything:
            self._ask_agent(found)
        report = self._news(found, everything)
        if report is None:
            return True
        answer = self._post(report)
        if answer is None:
            return False
        for uuid, mark in answer.rings.items():
            if uuid in self._known:
                self._known[uuid].mark = mark
        return self._news(found, everything) is None if everything else True

    def _news(self, found: Mapping[str, OwnRing], everything: bool) -> Report | None:
        news: list[RingReport] = []
        for uuid, ring in found.items():
            known = self._known.setdefault(uuid, _Known(time.monotonic()))
            refused = known.mark is not None and not known.mark.known
            if refused or not (known.ours or everything):
                continue
            item = ring_report(ring.reader, known.mark)
            news += [] if item is None else [item]
        return Report("run", self.settings.node, news) if news else None

    def _ask_agent(self, found: Mapping[str, OwnRing]) -> None:
        for uuid in found:
            self._known.setdefault(uuid, _Known(time.monotonic()))
        listed = self._listed_by_agent()
        horizon = time.monotonic() - self.settings.agent_wait_seconds
        for uuid, known in self._known.items():
            known.ours = uuid not in listed and (known.ours or known.since < horizon)

    def _listed_by_agent(self) -> set[str]:
        try:
            with _OPENER.open(self.settings.agent + "/v1/rings", timeout=1.0) as answer:
                data = json.load(answer)
            same = origin(data.get("tuner") or "") == origin(self.settings.tuner)
            return {item["ring"] for item in data["rings"]} if same else set()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return set()  # no agent, or something else on its port

    def _post(self, report: Report) -> Acknowledgement | None:
        request = urllib.request.Request(
            self.settings.tuner + "/v1/windows",
            data=json.dumps(report.encode()).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with _OPENER.open(request, timeout=self.settings.request_seconds) as answer:
                return Acknowledgement.decode(json.load(answer))
        except (OSError, ValueError, MessageError):
            return None  # the ring keeps it; the next round says it again


def _after(said: RingReport, mark: RingMark | None) -> RingMark:
    since = mark or START
    return RingMark(
        next_record=since.next_record if said.window is None else said.window.last + 1,
        next_event=max([since.next_event, *(event.number + 1 for event in said.events)]),
        generation=said.generation,
        known=True,
    )


def origin(url: str) -> tuple[str | None, int | None]:
    """Host and port of a URL, with localhost and 127.0.0.1 as one."""
    parts = urlsplit(url)
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
    return host, parts.port
