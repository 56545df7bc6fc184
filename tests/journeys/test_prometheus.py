"""A real Prometheus scrapes a real agent and a real tuner while `paceline tune` runs a real 2-rank job.

Every query of every panel then has an answer, every recording rule has recorded, no target is down, and no alert
fires for runs that ended normally.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_server import PROGRAM, prometheus

from paceline_dashboards.picture import BROWSERS, CAPTION, Shot, main, page
from paceline_dashboards.prometheus import Prometheus
from paceline_dashboards.reading import asked, filled
from paceline_tuner.child import ServiceChild
from paceline_tuner.demo.study import TRAIN

pytest.importorskip("torch", reason="the job trains: pip install 'paceline[demo]'")

ROOT = Path(__file__).parents[2]
NOTHING_TO_SEE = {
    ("job", "GPU memory peak"): "there is no GPU",
    **{
        ("job", title): "there is no GPU"
        for title in (
            *("Tensor cores active", "Multiprocessors active", "Power draw", "Temperature", "Clock"),
            *("Clocks held down by heat or power brake", "Sent by the nearest NICs", "Foreign processes"),
        )
    },
    ("tuner", "Proved gain and its 95 % interval"): "the study runs no pairs",
    ("tuner", "Best against default", "C"): "the study runs no pairs",
    ("tuner", "Best against default", "D"): "the study runs no pairs",
    ("tuner", "Best against default", "E"): "the study runs no pairs",
}
"""Dashboard and panel, for a panel of several queries also which: why it rightly has no series here."""
STUDY = f"""
study: watched
command: >-
  {sys.executable} -m torch.distributed.run --standalone --nproc-per-node 2 {TRAIN} --use_cpu True
  --layers 1 --width 64 --length 64 --output_dir out --disable_tqdm True --max_steps 1000
  --per_device_train_batch_size 4 --logging_steps 20
knobs:
  per_device_train_batch_size: [2, 8]
hold: global_batch
objective: {{throughput: tokens, warmup_steps: 5, measure_steps: 400}}
budget: {{trials: 2, run: 2m, hang: 60s}}
proof: {{max_pairs: 0}}
"""


@dataclass
class Scene:
    """What ran, and who saw it."""

    prometheus: Prometheus
    began: float
    ended: float


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A study, run from its first trial to its last under the eyes of Prometheus."""
    if PROGRAM is None:
        pytest.skip("prometheus is not here: Debian's package prometheus brings it")
    root = tmp_path_factory.mktemp("watched")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PACELINE_RING_DIR", str(root / "rings"))
        serve = ["serve", "--web.listen-address", "127.0.0.1:0", "--database", str(root / "tuner.sqlite")]
        with ServiceChild(serve, root / "tuner.log") as tuner:
            agent = ["agent", "--web.listen-address", "127.0.0.1:0", "--tuner.url", tuner.url]
            with ServiceChild([*agent, "--spool.directory", str(root / "spool")], root / "agent.log") as node:
                yield from watched(root, tuner.url, node.url)


def watched(root: Path, tuner: str, agent: str) -> Iterator[Scene]:
    """Start Prometheus, run the study, and let a last scrape pass."""
    with prometheus(root, configuration(tuner, agent)) as url:
        began = time.time()
        tune(root, tuner, agent)
        time.sleep(5)  # two scrapes and more evaluations
        yield Scene(Prometheus(url), began, time.time())


def configuration(tuner: str, agent: str) -> str:
    """Scrapes every other second, with the rules of the repository."""
    rules = [str(ROOT / "dashboards" / "rules" / f"{name}.yaml") for name in ("recording", "alerts")]
    targets = {"paceline-tuner": tuner, "paceline-agent": agent}
    jobs = [
        {"job_name": name, "static_configs": [{"targets": [url.removeprefix("http://")]}]}
        for name, url in targets.items()
    ]
    times = {"scrape_interval": "2s", "evaluation_interval": "1s", "scrape_timeout": "2s"}
    return yaml.safe_dump({"global": times, "rule_files": rules, "scrape_configs": jobs})


def tune(root: Path, tuner: str, agent: str) -> None:
    (root / "study.yaml").write_text(STUDY)
    command = [sys.executable, "-m", "paceline_exporters", "tune", str(root / "study.yaml")]
    services = ["--tuner", tuner, "--agent", agent, "--directory", str(root / "study")]
    done = subprocess.run(
        [*command, *services], capture_output=True, text=True, timeout=240, cwd=root, env=os.environ, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def everything(scene: Scene, expression: str) -> list[Any]:
    return scene.prometheus.range(expression, scene.began, scene.ended, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["job", "tuner"])
def test_every_query_of_every_panel_has_an_answer(scene: Scene, name: str) -> None:
    dashboard = json.loads((ROOT / "dashboards" / f"{name}.json").read_text())
    run = scene.prometheus.values("run_id", "paceline_run_info")[0]
    values = {"run_id": run, "rank": ".*", "study": ".*", "__rate_interval": "20s", "__range": "5m"}
    silent = []
    for one in asked(dashboard):
        expected = not {(name, one.title), (name, one.title, one.ref)} & NOTHING_TO_SEE.keys()
        expression = filled(one.expression, values)
        series = everything(scene, expression)
        known = [value for each in series for _, value in each.points if value == value]
        if bool(known) != expected:
            silent.append(f"{one.title} {one.ref} ({len(series)} series): {expression}")
    assert not silent, "\n".join(silent)


@pytest.mark.slow
def test_every_recording_rule_records(scene: Scene) -> None:
    groups = scene.prometheus.get("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert not [rule["lastError"] for rule in rules if rule.get("lastError")]
    of_runs = ("run:", "rank:", "run_phase:")  # those of devices: tests/dashboards/test_answers.py
    names = [rule["name"] for rule in rules if rule["type"] == "recording" and rule["name"].startswith(of_runs)]
    assert len(names) >= 9
    assert not [name for name in names if not everything(scene, name)]


@pytest.mark.slow
def test_no_target_is_down_and_no_alert_fires(
    scene: Scene, until: Callable[[Callable[[], Any], str], Any]
) -> None:
    def health() -> set[tuple[str, str]]:
        targets = scene.prometheus.get("targets")["activeTargets"]
        return {(target["labels"]["job"], target["health"]) for target in targets}

    until(lambda: health() == {("paceline-agent", "up"), ("paceline-tuner", "up")}, "both targets up")
    # A busy machine may hold a step up for as long as two of them wait, while the run lasts.
    held_up = "PacelineRunHung|PacelineStepStalled"
    assert not everything(scene, f'ALERTS{{alertstate="firing", alertname!~"{held_up}"}}')
    firing = 'ALERTS{alertstate="firing"}'
    until(lambda: not scene.prometheus.get("query", query=firing)["result"], "no alert for runs that ended")


@pytest.mark.slow
def test_the_picture_shows_the_run(scene: Scene, tmp_path: Path) -> None:
    run = scene.prometheus.values("run_id", "paceline_run_info")[0]
    html, _ = page(Shot(scene.prometheus, run, scene.began, scene.ended))
    assert html.count("<svg") >= 8 and escape(CAPTION) in html and run in html
    if not any(map(shutil.which, BROWSERS)):
        pytest.skip("no Chromium is here: the page was made, no picture of it taken")
    picture = tmp_path / "job.png"
    arguments = ["--prometheus", scene.prometheus.url, "--output", str(picture), "--run", run]
    assert main([*arguments, "--end", str(scene.ended)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
