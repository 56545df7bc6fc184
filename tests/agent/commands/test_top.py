"""`paceline top` in a real terminal, over real agents."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from paceline_service import Service
from played_runs import LONG_STEP_SECONDS, play
from ring_histories import Story
from terminals import InTerminal

COMMAND = [sys.executable, "-m", "paceline_exporters", "top"]
SLOW = Story(1, ranks=4, step_seconds=LONG_STEP_SECONDS, fault="data_wait", slow_rank=3, by=0.2)


@pytest.fixture
def nodes(tmp_path: Path, trainer: Any) -> Iterator[list[Service]]:
    """Two nodes with two ranks each of one run; rank 3 waits for its data."""
    where = [(tmp_path / f"rings-{node}", f"node-{node}") for node in ("a", "b")]
    ranks = [
        trainer(directory=directory, rank=2 * place + local, world_size=4, node=node)
        for place, (directory, node) in enumerate(where)
        for local in (0, 1)
    ]
    play(ranks, SLOW)
    agents = []
    for directory, node in where:
        own = tmp_path / node
        own.mkdir()
        words = ["agent", "--node", node, "--rings.directory", directory, "--spool.directory", own / "spool"]
        agents.append(Service(own, [*words, "--state.directory", own]).start())
    yield agents
    for one in agents:
        one.kill()


Top = Callable[..., InTerminal]


@pytest.fixture
def top(nodes: list[Service]) -> Iterator[Top]:
    """Starts `paceline top` on both nodes in a terminal."""
    started: list[InTerminal] = []

    def start(**options: Any) -> InTerminal:
        agents = [f"--agent={one.url}" for one in nodes]
        started.append(InTerminal([*COMMAND, *agents], **options))
        return started[-1]

    yield start
    for one in started:
        one.close()


def shows_all(screen: Any) -> bool:
    return "straggler: Rank 3 on node-b" in screen.text


def is_as_before(terminal: InTerminal) -> bool:
    screen = terminal.screen
    return terminal.attributes() == terminal.before and not screen.alternate and not screen.cursor_hidden


@pytest.mark.slow
def test_it_shows_ranks_of_all_nodes_and_who_holds_them_up(top: Top) -> None:
    terminal = top(columns=140)
    screen = terminal.until(shows_all, "the straggler")
    assert screen.alternate and screen.cursor_hidden
    rows = screen.text.splitlines()
    assert rows[0].startswith("paceline top: 2 nodes, 1 run")
    assert any(row.startswith("run-1  4 of 4 ranks") for row in rows)
    (slow,) = [row.split() for row in rows if "!3" in row]
    assert slow[:3] == ["!3", "node-b", "300"]
    assert slow[-1] == "slow"
    assert sum(" 300 " in row for row in rows) == 4
    assert [row[:6] for row in rows if row.startswith("node-")] == ["node-a", "node-b"]
    terminal.type(b"x\x1b[A")  # keys without a meaning
    terminal.type(b"q")
    assert terminal.ends() == 0
    assert is_as_before(terminal)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_leave_the_terminal_as_it_was(top: Top, number: int) -> None:
    terminal = top()
    terminal.until(shows_all, "a frame")
    if number == signal.SIGINT:
        terminal.type(b"\x03")
    else:
        terminal.process.send_signal(number)
    assert terminal.ends() == 0
    assert is_as_before(terminal)
    assert "Traceback" not in terminal.output


@pytest.mark.slow
def test_it_follows_the_size_of_the_terminal(top: Top) -> None:
    terminal = top(columns=140)
    assert "PHASES" in terminal.until(shows_all, "a wide frame").text
    for columns, lines in ((60, 12), (24, 6), (200, 50)):
        terminal.resize(columns, lines)

        def fits(screen: Any, columns: int = columns, lines: int = lines) -> bool:
            widths = [len(row) for row in screen.rows.values()]
            return len(widths) == lines and set(widths) == {columns}

        screen = terminal.until(fits, f"a frame of {columns} x {lines}")
        assert "RANK" in screen.text
        assert ("PHASES" in screen.text, "THROT" in screen.text) == (columns >= 60, columns > 60)
    terminal.type(b"q")
    assert terminal.ends() == 0


@pytest.mark.slow
def test_an_agent_goes_away_and_comes_back(top: Top, nodes: list[Service]) -> None:
    terminal = top(columns=140)
    terminal.until(shows_all, "a frame")
    nodes[1].kill()
    screen = terminal.until(lambda screen: "node-b  away: connection refused" in screen.text, "the agent away")
    assert [row.split()[-1] for row in screen.text.splitlines() if row[6:12] == "node-b"] == ["away"] * 2
    nodes[1].start()
    terminal.until(lambda screen: "away" not in screen.text and shows_all(screen), "the agent back")
    terminal.type(b"Q")
    assert terminal.ends() == 0
    assert is_as_before(terminal)


@pytest.mark.slow
def test_a_stop_gives_the_terminal_back_until_it_goes_on(top: Top) -> None:
    terminal = top()
    terminal.until(shows_all, "a frame")
    terminal.type(b"\x1a")
    terminal.until(lambda screen: terminal.state() == "T", "the stop")
    terminal.until(lambda screen: not screen.alternate, "the terminal given back")
    assert is_as_before(terminal)
    terminal.process.send_signal(signal.SIGCONT)
    terminal.until(lambda screen: screen.alternate and shows_all(screen), "the next frame")
    terminal.type(b"q")
    assert terminal.ends() == 0
    assert is_as_before(terminal)


@pytest.mark.slow
def test_one_frame_where_there_is_no_terminal(nodes: list[Service]) -> None:
    agents = [f"--agent={one.url}" for one in nodes]
    for words in ((), ("--once",)):
        done = subprocess.run([*COMMAND, *agents, *words], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert "\x1b" not in done.stdout
        assert "straggler: Rank 3 on node-b costs " in done.stdout
        assert done.stdout.count(" 300 ") == 4


@pytest.mark.slow
@pytest.mark.parametrize(("words", "environment"), [(["--once"], {}), ([], {"TERM": "dumb"})])
def test_one_frame_in_a_terminal(
    top: Top, nodes: list[Service], words: list[str], environment: dict[str, str]
) -> None:
    terminal = InTerminal([*COMMAND, "--agent", nodes[0].url, *words], columns=60, environment=environment)
    assert terminal.ends() == 0
    screen = terminal.screen
    assert "run-1  2 of 4 ranks" in screen.text
    assert "?1049h" not in terminal.output
    assert max(len(row.rstrip()) for row in screen.rows.values()) <= 60
    assert is_as_before(terminal)
    terminal.close()


def test_no_agent_at_all_is_said_and_is_a_failure() -> None:
    done = subprocess.run(
        [*COMMAND, "--once", "--agent", "127.0.0.1:1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "http://127.0.0.1:1  away: connection refused" in done.stdout
    done = subprocess.run([*COMMAND, "--agent", "ftp://a"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("paceline top: --agent: expected an address")
