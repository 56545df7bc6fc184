"""How long submitters wait for the tuner: a real `paceline serve`, a study of 1,000 finished trials, 8 knobs.

    python tests/benchmarks/tuner.py --output build/bench/tuner.json

Keys, each with the number of trials it was measured at:
ask_p50_ms, ask_p99_ms: an ask at least a second after the last run's end, as when a launcher has torn down a job;
ask_at_once_p50_ms: an ask right after an end, which waits for a configuration that knows the result;
end_p99_ms: the word that a run ended;
study_ms: GET of the study with all its trials.
All over one kept-alive connection, on loopback.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from paceline_exporters.messages import Event, Outcome, Report, RingReport
from paceline_tuner.child import ServiceChild
from paceline_tuner.study.codec import spec_to_json
from paceline_tuner.study.spec import Budget, Knob, Objective, Proof, StudySpec

STUDY = "bench"
IDLE_SECONDS = 1.0


def main() -> None:
    """Fill a study, then measure at its end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("build/bench/tuner.json"))
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--asks", type=int, default=40)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        serve = ["serve", "--web.listen-address", "127.0.0.1:0", "--database", f"{directory}/tuner.sqlite"]
        with ServiceChild(serve, Path(directory) / "log") as tuner:
            figures = measure(Submitter(tuner.url), arguments.trials, arguments.asks)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(figures, indent=1) + "\n")
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


def measure(submitter: Submitter, trials: int, asks: int) -> dict[str, Any]:
    """The figures; milliseconds."""
    submitter.call("POST", "/v1/studies", {"schema": 1, "spec": spec_to_json(spec(trials + 2 * asks + 1))})
    ends, at_once, idle = [], [], []
    for number in range(trials + 2 * asks):
        spaced = number >= trials + asks
        if spaced:
            time.sleep(IDLE_SECONDS)
        run_id, ask_ms = submitter.ask()
        end_ms = submitter.finish(run_id)
        if number >= trials:
            ends.append(end_ms)
            (idle if spaced else at_once).append(ask_ms)
    _, study_ms = submitter.timed("GET", f"/v1/studies/{STUDY}")
    return {
        "ask_p50_ms": round(statistics.median(idle), 2),
        "ask_p99_ms": round(float(np.percentile(idle, 99)), 2),
        "ask_trials": trials + asks,
        "ask_count": len(idle),
        "ask_at_once_p50_ms": round(statistics.median(at_once), 2),
        "ask_at_once_trials": trials,
        "end_p99_ms": round(float(np.percentile(ends, 99)), 2),
        "end_trials": trials,
        "end_count": len(ends),
        "study_ms": round(study_ms, 2),
    }


def spec(trials: int) -> StudySpec:
    """Three choices, three floats and two integers; a final-metric study, which needs no windows."""
    choices = [
        Knob(f"placeholder.c{i}", "placeholders", f"c{i}", "choice", "speed", choices=(0, 1, 2)) for i in range(3)
    ]
    floats = [
        Knob(f"placeholder.f{i}", "placeholders", f"f{i}", "float", "speed", low=0.0, high=1.0) for i in range(3)
    ]
    whole = [Knob(f"placeholder.i{i}", "placeholders", f"i{i}", "int", "speed", low=0, high=64) for i in range(2)]
    knobs = (*choices, *floats, *whole)
    return StudySpec(
        name=STUDY,
        command=("job", *(f"{{{knob.key}}}" for knob in knobs)),
        knobs=knobs,
        objective=Objective("final", "minimize", metric="eval_loss", max_steps=10),
        budget=Budget(trials=trials),
        proof=Proof(max_pairs=0),
        defaults={knob.key: 0 for knob in knobs},
    )


class Submitter:
    """Asks and says how runs ended, over one connection."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        self._random = random.Random(1)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The decoded answer of a request that must succeed."""
        return self.timed(method, path, body)[0]

    def timed(self, method: str, path: str, body: Any = None) -> tuple[Any, float]:
        """The same, and its milliseconds."""
        began = time.perf_counter()
        self._connection.request(method, path, None if body is None else json.dumps(body))
        answer = self._connection.getresponse()
        content = answer.read()
        elapsed = (time.perf_counter() - began) * 1e3
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:300]!r}")
        return json.loads(content), elapsed

    def ask(self) -> tuple[str, float]:
        """A run's name, and the milliseconds of the ask that gave it."""
        while True:
            body = {"schema": 1, "client_id": "bench", "request_id": uuid.uuid4().hex}
            answer, elapsed = self.timed("POST", f"/v1/studies/{STUDY}/proposals", body)
            if "proposal" in answer:
                self._placeholders = answer["proposal"]["placeholders"]
                return str(answer["proposal"]["run_id"]), elapsed
            if "done" in answer:
                raise RuntimeError(f"the study ended early: {answer['reason']}")
            time.sleep(float(answer["wait_seconds"]))

    def finish(self, run_id: str) -> float:
        """Its one rank says that it ended, then the submitter does, with a noisy value; milliseconds of the latter."""
        ended = Event(number=0, kind="end", wall=time.time(), step=10.0)
        ring = RingReport(uuid.uuid4().hex, run_id, 0, 1, 0, "node", alive=False, generation=0, events=(ended,))
        self.call("POST", "/v1/windows", Report("run", "node", (ring,)).encode())
        loss = sum(float(value) for value in self._placeholders.values()) + self._random.gauss(0, 1)
        metrics = {"eval_loss": loss}
        outcome = Outcome("finished", "done", exit_code=0, metrics=metrics).encode()
        _, elapsed = self.timed("POST", f"/v1/runs/{run_id}/end", {**outcome, "request_id": run_id})
        return elapsed


if __name__ == "__main__":
    main()
