"""The tuner service's HTTP interface, for submitters; errors are named by what the caller should do."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from paceline_exporters.messages import Decision, Outcome

Answer = dict[str, Any]
T = TypeVar("T")

# A private tuner is on this machine, a shared one next door: a proxy for the world outside would be in the way.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class TunerAway(Exception):
    """The tuner does not answer now: try again, with the same request id."""


class TunerRefused(Exception):
    """The tuner does not take the request as it is; the text says what to change."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class TunerClient:
    """One tuner. Every method raises TunerAway and TunerRefused."""

    url: str
    """Without a slash at the end."""
    timeout_seconds: float = 30.0
    """Deadline of one request; an ask may wait 10 s for a fresh configuration."""

    def create_study(self, spec: Mapping[str, Any]) -> Answer:
        """Register a study; the same specification again is no error."""
        return self._post("/v1/studies", {"spec": spec})

    def study(self, name: str) -> Answer:
        """State, trials, default, best and proof of a study."""
        return self._get(f"/v1/studies/{_word(name)}")

    def study_brief(self, name: str) -> Answer:
        """The same without the trials: what a poll wants."""
        return self._get(f"/v1/studies/{_word(name)}?trials=none")

    def ask(self, name: str, client_id: str, request_id: str, run_root: str) -> Answer:
        """A proposal, how long to wait for one, or that the study is done; idempotent by `request_id`."""
        body = {"client_id": client_id, "request_id": request_id, "run_root": run_root}
        return self._post(f"/v1/studies/{_word(name)}/proposals", body)

    def open_runs(self, name: str, client_id: str) -> list[Answer]:
        """This client's runs that never ended."""
        answer = self._get(f"/v1/studies/{_word(name)}/open?{urlencode({'client_id': client_id})}")
        return list(answer["open"])

    def heartbeat(self, run_id: str) -> Decision:
        """Say that a run lives; the answer is to go on or to stop all its ranks."""
        answer = self._post(f"/v1/runs/{_word(run_id)}/heartbeat", {})
        return Decision(answer["action"], answer["reason"], answer.get("progress") or {})

    def end(self, run_id: str, outcome: Outcome) -> Answer:
        """Say how a run ended; idempotent."""
        return self._post(f"/v1/runs/{_word(run_id)}/end", {**outcome.encode(), "request_id": f"{run_id}-end"})

    def post_report(self, report: Mapping[str, Any]) -> Answer:
        """Deliver a report (messages.Report as JSON) on behalf of a supervisor that could not."""
        return self._post("/v1/windows", report)

    def best(self, name: str) -> Answer:
        """The best configuration known, with its proof."""
        return self._get(f"/v1/studies/{_word(name)}/best")

    def normal_proposal(self, name: str, even_unproven: bool = False) -> Answer:
        """A proposal for a user's normal run."""
        query = "?even_unproven=1" if even_unproven else ""
        return self._get(f"/v1/studies/{_word(name)}/proposal{query}")

    def ready(self) -> bool:
        """Whether the service answers."""
        try:
            self._get("/readyz")
        except (TunerAway, TunerRefused):
            return False
        return True

    def _get(self, path: str) -> Answer:
        return self._call(urllib.request.Request(self.url + path))

    def _post(self, path: str, body: Mapping[str, Any]) -> Answer:
        data = json.dumps({"schema": 1, **body}).encode()
        return self._call(
            urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method="POST")
        )

    def _call(self, request: urllib.request.Request) -> Answer:
        try:
            status, content = self._exchange(request)
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "reason", None) or error
            raise TunerAway(
                f"no answer from the tuner at {self.url} ({why}): see whether `paceline serve` runs there"
            ) from error
        if status >= 400:
            raise self._refusal(status, content)
        try:
            return dict(json.loads(content))
        except (TypeError, ValueError) as error:
            raise TunerRefused(status, "no_tuner", self._no_tuner(status)) from error

    def _exchange(self, request: urllib.request.Request) -> tuple[int, bytes]:
        try:
            with _OPENER.open(request, timeout=self.timeout_seconds) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def _refusal(self, status: int, content: bytes) -> Exception:
        try:
            detail = json.loads(content)["error"]
            code, text = str(detail["code"]), str(detail["message"])
        except (ValueError, KeyError, TypeError):
            code, text = "no_tuner", self._no_tuner(status)
        return TunerAway(text) if status >= 500 else TunerRefused(status, code, text)

    def _no_tuner(self, status: int) -> str:
        return f"what answers at {self.url} is no tuner (status {status}): give the address of a `paceline serve`"


def _word(text: str) -> str:
    return quote(text, safe="")


def patiently(
    call: Callable[[], T],
    seconds: float,
    meanwhile: Callable[[TunerAway], None] = lambda _: None,
    pause: float = 0.5,
) -> T:
    """`call()` again and again while the tuner is away, for at most so many seconds; then raises TunerAway.

    `meanwhile` hears of every failure before the next try.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except TunerAway as error:
            if time.monotonic() > deadline:
                raise
            meanwhile(error)
            time.sleep(pause)
