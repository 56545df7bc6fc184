"""The main job, whole and real: a 2-rank Trainer job is tuned while the tuner dies once, watched by an agent, and
the result is applied to the user's own job and read back."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from paceline_exporters.rings import RingDirectory
from paceline_tuner.child import ServiceChild
from paceline_tuner.client import TunerClient
from paceline_tuner.demo.study import TRAIN

pytest.importorskip("torch", reason="the job trains: pip install 'paceline[demo]'")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PATIENCE = 240.0
"""Seconds for what must come; no test measures time."""
PACELINE = [sys.executable, "-m", "paceline_exporters"]
STUDY = """
study: journey
command: {command}
knobs:
  per_device_train_batch_size: [1, 2, 4]
  ddp.bucket_cap_mb: [unset, 1]
  learning_rate: {{choices: [1.0e-4, 3.0e-4]}}
hold: global_batch
objective: {{throughput: tokens, warmup_steps: 2, measure_steps: 8}}
budget: {{trials: 4}}
proof: {{max_pairs: 0}}
"""


def job(output: Path) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    size = ["--use_cpu", "True", "--layers", "1", "--width", "64", "--length", "64", "--disable_tqdm", "True"]
    batch = ["--per_device_train_batch_size", "1", "--gradient_accumulation_steps", "4", "--max_steps", "12"]
    return [*launcher, str(TRAIN), "--output_dir", str(output), *size, *batch]


def eventually(look: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.2)
    raise AssertionError(f"waited in vain for {what}")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PACELINE_RING_DIR", str(tmp_path / "rings"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def serve(home: Path, address: str = "127.0.0.1:0") -> ServiceChild:
    flags = ["serve", "--web.listen-address", address, "--database", str(home / "tuner.sqlite")]
    child = ServiceChild(flags, home / "tuner.log")
    child.start()
    return child


@pytest.fixture
def agent_of(home: Path) -> Iterator[Callable[[str], ServiceChild]]:
    children = []

    def start(tuner: str) -> ServiceChild:
        flags = ["agent", "--web.listen-address", "127.0.0.1:0", "--tuner.url", tuner]
        child = ServiceChild([*flags, "--spool.directory", str(home / "spool")], home / "agent.log")
        child.start()
        children.append(child)
        return child

    yield start
    for child in children:
        child.stop()


def stepping(agent: ServiceChild) -> dict[str, set[str]]:
    """Run -> ranks that have taken steps, as a Prometheus server would read it."""
    with urllib.request.urlopen(agent.url + "/metrics", timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    found: dict[str, set[str]] = {}
    for family in families:
        for sample in family.samples:
            if sample.name == "paceline_steps_total" and sample.value > 0:
                found.setdefault(sample.labels["run_id"], set()).add(sample.labels["rank"])
    return found


def kill(tuner: ServiceChild) -> None:
    assert tuner._process is not None
    os.kill(tuner._process.pid, signal.SIGKILL)
    tuner.stop()


def test_watched_tuned_across_runs_and_applied(home: Path, agent_of: Callable[[str], ServiceChild]) -> None:
    (home / "study.yaml").write_text(STUDY.format(command=shlex.join(job(home / "user"))))
    tuner = serve(home)
    agent = agent_of(tuner.url)
    flags = ["--tuner", tuner.url, "--agent", agent.url, "--directory", str(home / "study")]
    with (home / "tune.log").open("w") as log:
        tune = subprocess.Popen([*PACELINE, "tune", str(home / "study.yaml"), *flags], stdout=log, stderr=log)
    try:
        seen = eventually(lambda: {r for r, k in stepping(agent).items() if k == {"0", "1"}}, "both ranks' steps")
        assert any(run.startswith("journey-0-0-") for run in seen)
        client = TunerClient(tuner.url)
        eventually(lambda: client.study("journey")["progress"]["trials"] >= 1, "the first trial's end")
        before = client.study("journey")
        kill(tuner)
        tuner = serve(home, tuner.url.removeprefix("http://"))
        assert tune.wait(PATIENCE) == 0, (home / "tune.log").read_text()
        check_study(home, client.study("journey"), before)
        check_applied(home, client)
    finally:
        tune.kill()
        tune.wait()
        tuner.stop()


def check_study(home: Path, after: dict[str, Any], before: dict[str, Any]) -> None:
    assert after["state"] == "done" and [trial["state"] for trial in after["trials"]] == ["complete"] * 4
    assert after["trials"][0]["value"] == before["trials"][0]["value"], "an acknowledged result is kept"
    runs = [run["run_id"] for trial in after["trials"] for run in trial["runs"] if run["outcome"] == "finished"]
    assert len(runs) == len(set(runs)) == 4, "no run twice"
    launched = {path.name for path in (home / "study" / "runs").iterdir()}
    assert set(runs) <= launched
    assert not (home / "user").exists(), "trials touch nothing of the user's"
    for trial in after["trials"]:
        assert trial["runs"][-1]["summary"]["ranks"] == [0, 1]


def check_applied(home: Path, client: TunerClient) -> None:
    best = client.best("journey")
    command = [*PACELINE, "submit", "--study", "journey", "--tuner", client.url, "--even-unproven", "--"]
    done = subprocess.run([*command, *job(home / "user")], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    directory = RingDirectory(home / "rings")
    headers = [ring.header() for ring in directory.scan().rings.values()]
    normal = [header.data for header in headers if header is not None and header.data["kind"] == "normal"]
    directory.close()
    assert {data["rank"] for data in normal} == {0, 1}
    for data in normal:
        effective = data["effective"]
        assert {name: effective["arguments"][name] for name in best["arguments"]} == best["arguments"]
        assert {name: effective["ddp"][name] for name in best["ddp"]} == best["ddp"]
    assert json.loads((home / "user" / "config.json").read_text()), "a normal run saves what the job saves"
