"""One thread per agent that asks it every second; what it says waits until the screen is drawn."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from paceline_exporters.diagnosis.replay import MOST_STEPS, steps_to_ask
from paceline_exporters.messages import MessageError, require

from ..diagnosis.asking import Steps
from ..peer import NotThere, Peer, PeerError
from .live import LiveRun
from .scrape import PATH, Devices, devices

PERIOD_SECONDS = 1.0
LEAST_ASKED = 16
"""Steps that are asked for at least: more may come in a period than came in the one before."""
ASKED_TIMES = 2


@dataclass(frozen=True)
class Answer:
    """What one agent said."""

    agent: str
    """Its URL."""
    trouble: str = ""
    """Why it said nothing; the rest is empty then."""
    node: str = ""
    runs: Mapping[str, Steps] = field(default_factory=dict)
    """Those with news."""
    listed: frozenset[str] = frozenset()
    """All runs that it has."""
    devices: Devices | None = None


class Watch:
    """Asks one agent for as long as the process lives."""

    def __init__(self, peer: Peer, answers: queue.SimpleQueue[Answer]) -> None:
        self._peer = peer
        self._answers = answers
        self._asked: dict[str, int] = {}
        """Steps to ask for next, by run."""
        self._next: dict[str, int] = {}
        """Next record, by ring."""

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._work, name=f"watch-{self._peer.url}", daemon=True).start()

    def ask(self) -> Answer:
        """Once; an agent that is away is an answer too."""
        try:
            return self._ask()
        except PeerError as error:
            trouble = str(error)
        except (MessageError, UnicodeDecodeError) as error:
            trouble = f"{self._peer.url} answers what this version does not understand: {error}"
        self._peer.close()
        self._asked.clear()  # it may have been restarted, and much may have happened
        return Answer(self._peer.url, trouble)

    def _work(self) -> None:
        while True:
            began = time.monotonic()
            self._answers.put(self.ask())
            time.sleep(max(PERIOD_SECONDS / 4, began + PERIOD_SECONDS - time.monotonic()))

    def _ask(self) -> Answer:
        listing = self._peer.json("/v1/runs")
        runs: dict[str, Steps] = {}
        entries = require(listing, "runs", list)
        for entry in entries:
            run_id, alive = require(entry, "run_id", str), require(entry, "alive", bool)
            if alive or run_id not in self._asked or self._asked[run_id]:
                found = self._steps(run_id, require(entry, "world_size", int))
                if found is not None:
                    runs[run_id] = found
                    self._asked[run_id] = self._to_ask(found) if alive else 0
        scrape = self._peer.get(PATH).decode()
        return Answer(
            agent=self._peer.url,
            node=require(listing, "node", str),
            runs=runs,
            listed=frozenset(entry["run_id"] for entry in entries),
            devices=devices(scrape, time.monotonic()),
        )

    def _steps(self, run_id: str, world_size: int) -> Steps | None:
        last = self._asked.get(run_id) or steps_to_ask(world_size)
        try:
            return Steps.decode(self._peer.json(f"/v1/runs/{quote(run_id, safe='')}/steps?last={last}"))
        except NotThere:  # it left in between
            return None

    def _to_ask(self, steps: Steps) -> int:
        """More than what was new this time."""
        new = 0
        for report in steps.rings:
            if report.window is not None:
                new = max(new, report.window.last + 1 - self._next.get(report.ring, report.window.last + 1))
                self._next[report.ring] = report.window.last + 1
        return min(MOST_STEPS, max(LEAST_ASKED, ASKED_TIMES * new))


@dataclass
class Node:
    """What is known of one agent and its node."""

    agent: str
    name: str = ""
    trouble: str = ""
    """Why it is away; empty: it is not."""
    devices: Devices | None = None
    before: Devices | None = None
    """An earlier look, for rates."""

    def rates(self) -> tuple[float, float] | None:
        """Bytes received and sent per second."""
        now, before = self.devices, self.before
        if now is None or before is None or now.at <= before.at or now.rdma != before.rdma:
            return None
        received, sent = now.received - before.received, now.sent - before.sent
        return None if min(received, sent) < 0 else (received / (now.at - before.at), sent / (now.at - before.at))


class Cluster:
    """All nodes and runs, as the answers have them."""

    def __init__(self, agents: Sequence[str]) -> None:
        self.nodes = {agent: Node(agent) for agent in agents}
        self.runs: dict[str, LiveRun] = {}
        self._listed: dict[str, frozenset[str]] = {}

    def take(self, answers: Sequence[Answer]) -> None:
        """What came since the last time, oldest first: what agents said at about the same time, together."""
        rounds: list[dict[str, Answer]] = []
        for answer in answers:
            place = next((one for one in rounds if answer.agent not in one), None)
            if place is None:
                rounds.append(place := {})
            place[answer.agent] = answer
        for one in rounds:
            self._take(one)

    def _take(self, answers: Mapping[str, Answer]) -> None:
        news: dict[str, dict[str, Steps]] = {}
        for answer in answers.values():
            self._note(answer)
            for run_id, steps in answer.runs.items():
                news.setdefault(run_id, {})[answer.agent] = steps
        for run_id, agents in news.items():
            self.runs.setdefault(run_id, LiveRun(run_id)).take(agents)
        listed = frozenset().union(*self._listed.values())
        self.runs = {name: run for name, run in self.runs.items() if name in listed}

    def _note(self, answer: Answer) -> None:
        node = self.nodes[answer.agent]
        node.trouble = answer.trouble
        if answer.trouble:
            node.before = node.devices = None
            for run in self.runs.values():
                run.lose(answer.agent)
        else:
            node.name = answer.node
            node.before, node.devices = node.devices, answer.devices
            self._listed[answer.agent] = answer.listed
