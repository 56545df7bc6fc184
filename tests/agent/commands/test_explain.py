"""`paceline explain`: real ranks, real agents on two nodes, and files that are all that is left."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from paceline_service import Service
from played_runs import LONG_STEP_SECONDS, play
from ring_histories import Story

from paceline_exporters.attach.recorder import Recorder

SLOW = Story(1, ranks=4, step_seconds=LONG_STEP_SECONDS, fault="data_wait", slow_rank=3, by=0.2)


def explain(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "paceline_exporters", "explain", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


StartAgent = Callable[..., Service]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[StartAgent]:
    """Starts the agent of a node, as `agent("node-a", rings)`."""
    started: list[Service] = []

    def start(node: str, rings: Path, *flags: str | Path) -> Service:
        own = tmp_path / node
        own.mkdir()
        directories = ("--rings.directory", rings, "--spool.directory", own / "spool", "--state.directory", own)
        started.append(Service(own, ["agent", "--node", node, *directories, *flags]).start())
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def nodes(tmp_path: Path, trainer: Any, agent: StartAgent) -> list[Service]:
    """Two nodes with two ranks each of one run; rank 3, on the second, waits for its data."""
    where = [(tmp_path / f"rings-{node}", f"node-{node}") for node in ("a", "b")]
    ranks = [
        trainer(directory=directory, rank=2 * place + local, world_size=4, node=node)
        for place, (directory, node) in enumerate(where)
        for local in (0, 1)
    ]
    play(ranks, SLOW)
    return [agent(node, directory) for directory, node in where]


async def seen(agents: list[Service], eventually: Any) -> None:
    """Every agent has taken over its ranks' steps."""
    for one in agents:

        def ready(url: str = one.url) -> bool:
            try:
                return bool(get(f"{url}/v1/runs/run-1")["steps"])
            except urllib.error.HTTPError:
                return False

        await eventually(ready, "the run at its agent")


@pytest.mark.slow
async def test_a_slow_rank_is_named_whichever_agent_is_asked_first(nodes: list[Service], eventually: Any) -> None:
    await seen(nodes, eventually)
    for order in (nodes, nodes[::-1]):
        told = explain("run-1", *(f"--agent={one.url}" for one in order))
        assert (told.returncode, told.stderr) == (0, "")
        assert told.stdout.startswith("run-1: straggler (4 of 4 ranks on 2 nodes, steps 201 to 300)\n\n")
        assert "Rank 3 on node-b costs " in told.stdout
        assert "cause: data." in told.stdout
        assert "Knobs: dataloader_num_workers, dataloader_prefetch_factor" in told.stdout
        assert "holds  straggler rank 3 on node-b, data_wait, cause data, since step 100" in told.stdout
        assert "nothing is seen" not in told.stdout


@pytest.mark.slow
async def test_one_agent_tells_of_its_ranks_and_that_there_are_others(
    nodes: list[Service], eventually: Any
) -> None:
    await seen(nodes, eventually)
    told = explain("--agent", nodes[0].url)
    assert told.returncode == 0
    assert told.stdout.startswith("run-1: ")
    assert "Rank 3" not in told.stdout
    assert "Of 2 ranks nothing is seen from here (2, 3)" in told.stdout
    assert "--agent" in told.stdout
    found = json.loads(explain("--json", "--agent", nodes[1].url).stdout)
    assert (found["schema"], found["verdict"]["kind"], found["world_size"]) == (1, "straggler", 4)
    assert [rank["rank"] for rank in found["ranks"]] == [2, 3]


@pytest.mark.slow
async def test_an_agent_that_is_away_is_missing_and_no_end(nodes: list[Service], eventually: Any) -> None:
    await seen(nodes, eventually)
    nodes[0].kill()
    told = explain("run-1", *(f"--agent={one.url}" for one in nodes))
    assert told.returncode == 0
    assert "Rank 3 on node-b" in told.stdout
    assert f"{nodes[0].url}: connection refused" in told.stdout
    assert explain("run-1", f"--agent={nodes[0].url}").returncode == 1


@pytest.mark.slow
async def test_runs_that_are_not_there(nodes: list[Service], eventually: Any) -> None:
    await seen(nodes, eventually)
    told = explain("run-9", "--agent", nodes[0].url)
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.startswith("paceline explain: no run 'run-9'; the runs there are: run-1; ")
    assert "--rings" in told.stderr


@pytest.mark.slow
async def test_pages_of_runs(nodes: list[Service], eventually: Any) -> None:
    await seen(nodes, eventually)
    listing = get(f"{nodes[1].url}/v1/runs")
    assert (listing["schema"], listing["node"]) == (1, "node-b")
    (run,) = listing["runs"]
    assert {key: run[key] for key in ("run_id", "attempt", "ranks", "world_size", "alive", "verdict")} == {
        "run_id": "run-1",
        "attempt": 0,
        "ranks": [2, 3],
        "world_size": 4,
        "alive": True,
        "verdict": "straggler",
    }

    def evident() -> Any:
        found = get(f"{nodes[1].url}/v1/runs/run-1/steps?last=3")
        return "cpu_steal_ratio" in found["rings"][0]["window"]["evidence"] and found

    steps = await eventually(evident, "evidence")
    assert (steps["schema"], steps["node"], sorted(steps["progress"])) == (1, "node-b", ["2", "3"])
    assert [ring["window"]["columns"]["step"] for ring in steps["rings"]] == [[298.0, 299.0, 300.0]] * 2
    for path, status, words in (
        ("/v1/runs/run-9", 404, "the runs here: run-1"),
        ("/v1/runs/run-9/steps", 404, "the runs here: run-1"),
        ("/v1/runs/run-1/steps?last=0", 400, "from 1 to"),
        ("/v1/runs/run-1/steps?last=many", 400, "from 1 to"),
        ("/v1/runs/run-1/steps?last=99999999999999999999", 400, "from 1 to"),
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(nodes[1].url + path)
        assert refused.value.code == status
        assert words in refused.value.read().decode()
        refused.value.close()


@pytest.mark.slow
async def test_a_run_with_an_odd_name_can_be_asked_about(
    agent: StartAgent, rings: Path, trainer: Any, eventually: Any
) -> None:
    name = "team a/run #1?%2F"
    play([trainer(run_id=name, rank=0, world_size=1)], Story(1, ranks=1, steps=30))
    one = agent("node-a", rings)
    await eventually(lambda: get(f"{one.url}/v1/runs")["runs"], "the run at its agent")
    told = explain(name, "--agent", one.url)
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.startswith(f"{name}: ")


@pytest.mark.slow
async def test_a_password_is_asked_for_and_given(
    agent: StartAgent, rings: Path, trainer: Any, tmp_path: Path, eventually: Any
) -> None:
    play([trainer(rank=0, world_size=1)], Story(1, ranks=1, steps=30))
    web = tmp_path / "web.yml"
    web.write_text(f"basic_auth_users: {{ann: {bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}}}\n")
    one = agent("node-a", rings, "--web.config.file", web)
    told = explain("--agent", one.url)
    assert (told.returncode, "asks for a user and a password" in told.stderr) == (1, True)
    address = one.url.replace("http://", "http://ann:secret@")

    def answered() -> bool:
        return explain("--agent", address).returncode == 0

    await eventually(answered, "an answer")


def test_files_are_enough_after_everything_was_killed(rings: Path, trainer: Any) -> None:
    ranks = [trainer(rank=rank, world_size=4, node=f"node-{rank}") for rank in range(4)]
    play(ranks, SLOW)
    ranks[0].event("exception", type="RuntimeError", message="a\nb\x1b[2J")
    for one in ranks:
        one.kill()
    told = explain("run-1", "--rings", str(rings))
    assert (told.returncode, told.stderr) == (0, "")
    assert "run-1: straggler (4 of 4 ranks on 4 nodes, steps 201 to 300, no rank lives, " in told.stdout
    assert (
        ", ranks 1-3 ended without a word)\n\nRank 0 on node-0 failed at step 300 (RuntimeError). " in told.stdout
    )
    assert "(RuntimeError). Ranks 1, 2, 3 ended without a word at step 300 (killed?). Rank 3 on " in told.stdout
    assert "Rank 3 on node-3 costs " in told.stdout
    assert "exception type=RuntimeError message=a?b?[2J" in told.stdout
    assert "\x1b" not in told.stdout


def test_a_directory_without_runs_and_none_at_all(rings: Path) -> None:
    rings.mkdir()
    told = explain("--rings", str(rings))
    assert (told.returncode, told.stderr) == (
        1,
        "paceline explain: there are no runs: has a job taken a step?\n",
    )
    told = explain("--rings", str(rings / "none"))
    assert (told.returncode, "is not a directory" in told.stderr) == (1, True)


def test_several_runs_ask_which(rings: Path) -> None:
    for name in ("a", "b"):
        Recorder(str(rings), {"run_id": name, "rank": 0, "world_size": 1, "attempt": 0, "node": "n"})
    told = explain("--rings", str(rings))
    assert (told.returncode, told.stderr) == (1, "paceline explain: which run? There are a, b\n")


@pytest.mark.parametrize("address", ["ftp://node-1", "http://", "http://node-1:port", "http://[::1"])
def test_an_address_that_is_none(address: str) -> None:
    told = explain("--agent", address)
    assert told.returncode == 1
    assert told.stderr.startswith("paceline explain: expected an address such as http://node-1:19470")


def test_a_tuner_is_asked_for_a_run_by_name() -> None:
    told = explain("--tuner", "http://127.0.0.1:1")
    assert (told.returncode, told.stderr) == (1, "paceline explain: name the run: a tuner has many\n")


def test_agent_and_rings_exclude_each_other(rings: Path) -> None:
    assert explain("--rings", str(rings), "--agent", "a").returncode == 2
