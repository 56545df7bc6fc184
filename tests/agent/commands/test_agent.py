from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

TESTS = Path(__file__).parents[2]
GOLDEN = {"text": "application/none", "openmetrics": "application/openmetrics-text"}
TROUBLE = {"ResourceWarning", "Traceback"}
LATE = "the last report was not made"
"""Said with reason where the machine is so busy that there is no time for it."""
LIBRARIES = {"torch": "2.13.0", "transformers": "5.23.0", "accelerate": "1.15.0"}


def fetch(url: str, accept: str = "*/*") -> str:
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept}), timeout=30) as answer:
        text: str = answer.read().decode()
    return text


def agent_once(command: list[str], *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, *flags], capture_output=True, text=True, timeout=60, check=False)


def fill(trainer: Any) -> None:
    """Two ranks of one run: values as a job writes them, all of them fixed."""
    for rank in range(2):
        writer = trainer(
            rank=rank,
            local_rank=rank,
            study="gpt",
            trial=3,
            kind="trial",
            device="cpu",
            libraries=LIBRARIES,
            parameters=124_000_000,
            flops_per_token=744_000_000.0,
        )
        writer.event("start")
        for number in (1, 2, 3):
            writer.steps(
                {
                    "step": number,
                    "wall": 1_700_000_000.25 + number,
                    "samples": 8,
                    "tokens": 4096,
                    "loss": 5.5 - number / 4,
                    "grad_norm": 1.5,
                    "learning_rate": 0.0005,
                    "step_seconds": 0.5,
                    "data_wait_seconds": 0.0625,
                    "forward_seconds": 0.125,
                    "backward_seconds": 0.25,
                    "optimizer_seconds": 0.0625,
                }
            )
        writer.event("first_step")


@pytest.mark.parametrize("form", list(GOLDEN))
async def test_golden_scrape(start_agent: Any, trainer: Any, eventually: Any, form: str, tmp_path: Path) -> None:
    """Everything the sources show of a fixture host; `UPDATE_GOLDEN=1` writes it anew."""
    fill(trainer)
    (tmp_path / "sys").mkdir()
    agent = start_agent(f"--path.procfs={TESTS / 'fixtures' / 'procfs'}", f"--path.sysfs={tmp_path / 'sys'}")
    url = f"{agent.url}/metrics?name[]=host&name[]=steps"
    shown = ("paceline_step_loss", "paceline_host_cpus")
    await eventually(lambda: all(name in fetch(url) for name in shown), "both sources in /metrics")
    golden = TESTS / "agent" / "golden" / f"metrics.{form}"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(fetch(url, GOLDEN[form]))
    seen = [fetch(url, GOLDEN[form])]

    def is_whole() -> bool:
        if seen[-1] != golden.read_text():
            seen.append(fetch(url, GOLDEN[form]))
        return seen[-1] == golden.read_text()

    with contextlib.suppress(AssertionError):  # what differs is said below
        await eventually(is_whole, "all of it in one scrape")
    assert seen[-1] == golden.read_text()
    assert len(list((parse_openmetrics if form == "openmetrics" else parse_text)(seen[-1]))) > 30


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_promtool_finds_nothing_to_say(start_agent: Any, trainer: Any) -> None:
    trainer().steps({"step": 1})
    text = fetch(f"{start_agent().url}/metrics")
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_once_prints_one_scrape(command: list[str], trainer: Any, rings: Path) -> None:
    trainer().steps({"step": 1})
    done = agent_once(command, "--once", f"--rings.directory={rings}")
    assert done.returncode == 0
    assert not TROUBLE & set(re.findall(r"\w+", done.stderr)), done.stderr
    names = {family.name for family in parse_text(done.stdout)}
    assert {"paceline_steps", "paceline_host_cpus", "paceline_agent_info"} <= names


def test_a_port_in_use(start_agent: Any, command: list[str]) -> None:
    address = start_agent().url.removeprefix("http://")
    done = agent_once(command, f"--web.listen-address={address}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"paceline agent: cannot listen on {address} (")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("flag", "named"),
    [
        ("--web.listen-address=nowhere", "--web.listen-address"),
        ("--path.procfs=/nonexistent", "--path.procfs"),
        ("--path.rootfs=/nonexistent", "--path.rootfs"),
        ("--node=", "--node"),
        ("--rings.directory=/etc/hostname", "--rings.directory"),
        ("--rings.retention=soon", "--rings.retention"),
        ("--limits.series=0", "--limits.series"),
        ("--ethtool.include=(", "--ethtool.include"),
        ("--peak.flops=0", "--peak.flops"),
        ("--web.config.file=/nonexistent", "--web.config.file"),
        ("--tuner.url=tuner:1", "--tuner.url"),
    ],
)
def test_a_bad_flag_gives_one_line(command: list[str], flag: str, named: str) -> None:
    done = agent_once(command, flag)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"paceline agent: {named}: ")
    assert done.stderr.count("\n") == 1


def test_an_unwritable_spool_gives_one_line(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    flags = (
        "--web.listen-address=127.0.0.1:0",
        "--tuner.url=http://127.0.0.1:9",
        f"--spool.directory={tmp_path}/file",
    )
    done = agent_once(command, *flags)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("paceline agent: cannot write to the spool directory")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_stops_when_asked_and_leaves_nothing_open(
    start_agent: Any, trainer: Any, tuner: Any, eventually: Any, number: int
) -> None:
    writer, agent = trainer(), start_agent(f"--tuner.url={tuner.url}")
    writer.steps({"step": 1})
    await eventually(lambda: tuner.records(writer.ring), "the first report")
    writer.steps({"step": 2})
    status, said = await asyncio.to_thread(agent.end, number)
    assert status == 0
    assert not TROUBLE & set(re.findall(r"\w+", said)), said
    if LATE not in said:
        assert tuner.records(writer.ring) == [0, 1], "one last report was made"


def test_an_address_open_to_all_is_logged(command: list[str]) -> None:
    process = subprocess.Popen(
        [*command, "--web.listen-address=:0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    _, errors = process.communicate(timeout=30)
    assert "without authentication" in errors


async def test_windows_survive_an_absent_tuner_and_a_killed_agent(
    start_agent: Callable[..., Any], trainer: Any, tuner: Any, rings: Path, tmp_path: Path, eventually: Any
) -> None:
    writer = trainer()
    await tuner.stop()
    first = start_agent(f"--tuner.url={tuner.url}")
    writer.steps(*({"step": number} for number in range(1, 701)))
    writer.kill()
    spool = tmp_path / "spool"
    await eventually(lambda: _spooled(first.url), "both reports in the spool")
    first.end(signal.SIGKILL)
    shutil.rmtree(rings)
    assert len(list(spool.rglob("*.report"))) >= 1
    await tuner.start()
    start_agent(f"--tuner.url={tuner.url}")
    await eventually(lambda: len(tuner.records(writer.ring)) == 700, "all windows at the tuner")
    assert tuner.records(writer.ring) == list(range(700))
    await eventually(lambda: not list(spool.rglob("*.report")), "the spool empty")


async def _spooled(url: str) -> bool:
    text = await asyncio.to_thread(fetch, f"{url}/metrics?name[]=agent")
    [spooled] = [
        line for line in text.splitlines() if line.startswith('paceline_agent_reports_total{result="spooled"}')
    ]
    return float(spooled.split()[-1]) >= 2
