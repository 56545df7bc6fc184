"""The runs of this node over HTTP: which there are, why their steps take so long, and the steps themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from aiohttp import web

from paceline_exporters.diagnosis.replay import MOST_STEPS
from paceline_exporters.messages import SCHEMA, RingReport

from .capture import Capture
from .runs import Runs

RUNS = "/v1/runs"


class RunPages:
    """Answers from a thread, one request at a time: a large answer holds up neither scrapes nor the diagnosis."""

    def __init__(self, runs: Runs, capture: Capture | None, node: str) -> None:
        self._runs = runs
        self._capture = capture
        self._node = node
        self._turn = asyncio.Lock()

    def routes(self) -> Sequence[web.RouteDef]:
        """For the agent's application."""
        return [
            web.get(RUNS, self.listing),
            web.get(RUNS + "/{run_id}", self.explanation),
            web.get(RUNS + "/{run_id}/steps", self.steps),
        ]

    async def listing(self, _request: web.Request) -> web.Response:
        """The runs that have ranks here."""
        return await self._answer(lambda: {"schema": SCHEMA, "node": self._node, "runs": self._runs.listing()})

    async def explanation(self, request: web.Request) -> web.Response:
        """An `Explanation`, of the ranks that are here."""
        run_id = request.match_info["run_id"]

        def explain() -> dict[str, Any] | None:
            found = self._runs.explain(run_id)
            if found is None:
                return None
            kept = () if self._capture is None else [str(one) for one in self._capture.listing(run_id)]
            return {**replace(found, stacks=kept).encode(), "reporter": self._node}

        return await self._answer(explain, run_id)

    async def steps(self, request: web.Request) -> web.Response:
        """A `messages.Report` with the latest `last` records of each rank here, and where each is now."""
        run_id, text = request.match_info["run_id"], request.query.get("last", str(MOST_STEPS))
        if not (text.isdecimal() and 1 <= int(text[:9]) <= MOST_STEPS):
            return web.Response(status=400, text=f"last: expected a number from 1 to {MOST_STEPS}\n")

        def report() -> dict[str, Any] | None:
            found = self._runs.steps(run_id, int(text))
            if found is None:
                return None
            rings, places = found
            progress = {str(rank): asdict(place) for rank, place in places.items()}
            return {
                "schema": SCHEMA,
                "reporter": "agent",
                "node": self._node,
                "rings": [_ring(ring) for ring in rings],
                "progress": progress,
            }

        return await self._answer(report, run_id)

    async def _answer(self, make: Callable[[], dict[str, Any] | None], run_id: str = "") -> web.Response:
        def answer() -> web.Response:
            made = make()
            if made is not None:
                return web.Response(body=json.dumps(made).encode(), content_type="application/json")
            known = ", ".join(run["run_id"] for run in self._runs.listing()) or "none"
            return web.Response(status=404, text=f"no run {run_id!r} has ranks here; the runs here: {known}\n")

        async with self._turn:
            return await asyncio.to_thread(answer)


def _ring(report: RingReport) -> dict[str, Any]:
    """As `Report.encode` has it; that copies each number, which here would be most of the cost."""
    window = report.window
    events = [vars(event) for event in report.events]
    return {**vars(report), "events": events, "window": None if window is None else vars(window)}
