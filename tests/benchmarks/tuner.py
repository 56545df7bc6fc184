"""How long a submitter waits for the tuner, measured on a real service with a thousand trials behind it.

`python tests/benchmarks/tuner.py --output build/bench/tuner.json`; about three minutes. The history is made
through HTTP, by submitters in parallel whose runs report a ring and end as any run does. Then one submitter with
a kept-alive connection goes on as a launcher would: a run ends, a second passes before the next, it asks.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import math
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SERVE = [sys.executable, "-m", "paceline_exporters", "serve", "--web.listen-address", "127.0.0.1:0"]
TRIALS = 1000
"""Behind the service when measuring begins."""
ASKS = 100
"""Asked a second after the previous end."""
ASKS_AT_ONCE = 50
"""Asked right after the previous end."""
PAUSE_SECONDS = 1.0
SUBMITTERS = 8
STEPS = 8


def main() -> int:
    """Measure, write the figures, and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/bench/tuner.json"))
    parser.add_argument("--trials", type=int, default=TRIALS, help="trials behind the service")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, service(Path(scratch)) as port:
        figures = measured(port, arguments.trials)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(figures, indent=2) + "\n")
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    return 0


@contextlib.contextmanager
def service(scratch: Path) -> Iterator[int]:
    """A real tuner; its port."""
    command = [*SERVE, "--database", str(scratch / "tuner.sqlite")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline().rpartition(":")[2])
        finally:
            process.terminate()


def measured(port: int, trials: int) -> dict[str, float]:
    """All figures; times in milliseconds."""
    Submitter(port).post("/v1/studies", {"schema": 1, "spec": study(trials)})
    began = time.perf_counter()
    first = Submitter(port)
    first.one()  # the default goes alone: the others wait for what it reports
    fill(port, trials - 1)
    filled = time.perf_counter() - began
    calm, hasty = Submitter(port), Submitter(port)
    for _ in range(ASKS):
        calm.one(PAUSE_SECONDS)
    for _ in range(ASKS_AT_ONCE):
        hasty.one()
    ends = calm.ends + hasty.ends
    return {
        "ask_p50_ms": quantile(calm.asks, 0.5),
        "ask_p99_ms": quantile(calm.asks, 0.99),
        "ask_trials": trials,
        "ask_at_once_p50_ms": quantile(hasty.asks, 0.5),
        "ask_at_once_trials": trials + ASKS,
        "end_p50_ms": quantile(ends, 0.5),
        "end_p99_ms": quantile(ends, 0.99),
        "end_trials": trials,
        "history_seconds": filled,
    }


def fill(port: int, runs: int) -> None:
    """Finish so many runs with submitters in parallel."""
    left = iter(range(runs))
    take = threading.Lock()

    def work() -> None:
        submitter = Submitter(port)
        while True:
            with take:
                if next(left, None) is None:
                    return
            submitter.one()

    threads = [threading.Thread(target=work) for _ in range(SUBMITTERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@dataclass
class Submitter:
    """Submitter, launcher and rank in one, on one kept-alive connection."""

    port: int
    asks: list[float] = field(default_factory=list)
    """Seconds until each answer that was a proposal."""
    ends: list[float] = field(default_factory=list)
    """Seconds until the end of each run was acknowledged."""
    client_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        """Connect at the first request."""
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The answer of a request that must succeed."""
        self._connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        with self._connection.getresponse() as answer:
            data = answer.read()
        assert answer.status < 300, data
        return json.loads(data)

    def one(self, pause: float = 0.0) -> None:
        """One run from ask to end, after a pause."""
        time.sleep(pause)
        proposal = self._ask()
        run_id = proposal["run_id"]
        loss = made_up(proposal["arguments"])
        self.post("/v1/windows", {"schema": 1, "reporter": "run", "node": "bench", "rings": [ring(run_id)]})
        word = {"request_id": "end", "state": "finished", "reason": "done", "metrics": {"eval_loss": loss}}
        began = time.perf_counter()
        answer = self.post(f"/v1/runs/{run_id}/end", word)
        self.ends.append(time.perf_counter() - began)
        assert answer["outcome"] == "finished", answer

    def _ask(self) -> dict[str, Any]:
        while True:
            request = {"client_id": self.client_id, "request_id": uuid.uuid4().hex}
            began = time.perf_counter()
            answer = self.post("/v1/studies/bench/proposals", request)
            took = time.perf_counter() - began
            if "proposal" in answer:
                self.asks.append(took)
                return dict(answer["proposal"])
            time.sleep(0.01)


def ring(run_id: str) -> dict[str, Any]:
    """All that a run of one rank reports."""
    numbers = [float(step) for step in range(1, STEPS + 1)]
    columns = {"step": numbers, "samples": [8.0] * STEPS, "step_seconds": [0.1] * STEPS}
    return {
        "ring": uuid.uuid5(uuid.NAMESPACE_OID, run_id).hex,
        "run_id": run_id,
        "rank": 0,
        "world_size": 1,
        "attempt": 0,
        "node": "bench",
        "alive": False,
        "generation": 1,
        "header": {"effective": {"arguments": {"learning_rate": 5e-5}}},
        "events": [{"number": 0, "kind": "end", "wall": 1.0, "step": float(STEPS), "detail": {}}],
        "window": {"first": 0, "last": STEPS - 1, "columns": columns},
    }


def made_up(arguments: dict[str, Any]) -> float:
    """A loss with its best value inside the space."""
    rate = math.log10(arguments.get("learning_rate", 5e-5))
    return 2.0 + (rate + 3.5) ** 2 + arguments.get("weight_decay", 0.0) + (arguments.get("optim") == "adafactor")


def study(trials: int) -> dict[str, Any]:
    """Eight knobs, three of them categorical; a study of the final loss, whose runs may go in parallel."""
    ranges = {
        "learning_rate": {"kind": "float", "low": 1e-5, "high": 1e-2, "log": True},
        "weight_decay": {"kind": "float", "low": 0.0, "high": 0.3},
        "max_grad_norm": {"kind": "float", "low": 0.1, "high": 2.0},
        "warmup_steps": {"kind": "int", "low": 0, "high": 200},
        "dataloader_num_workers": {"kind": "int", "low": 0, "high": 8},
        "lr_scheduler_type": {"kind": "choice", "choices": ["linear", "cosine", "constant"]},
        "optim": {"kind": "choice", "choices": ["adamw_torch", "adafactor"]},
        "per_device_train_batch_size": {"kind": "choice", "choices": [1, 2, 4, 8, 16]},
    }
    knobs = [
        {"name": name, "target": "arguments", "key": name, "effect": "convergence", **values}
        for name, values in ranges.items()
    ]
    return {
        "name": "bench",
        "command": ["train"],
        "knobs": knobs,
        "objective": {"kind": "final", "direction": "minimize", "metric": "eval_loss", "max_steps": STEPS},
        "budget": {"trials": trials + ASKS + ASKS_AT_ONCE + 1, "parallel": SUBMITTERS},
        "proof": {"max_pairs": 0},
        "sampler": "tpe",
    }


def quantile(seconds: list[float], share: float) -> float:
    """The nearest observed value, in milliseconds."""
    ordered = sorted(seconds)
    return round(1000 * ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)], 2)


if __name__ == "__main__":
    sys.exit(main())
