"""The terminal as it was, whatever happens to what is drawn."""

from __future__ import annotations

import sys

import pytest
from terminals import InTerminal

DRAW = """
import sys
from rich.console import Console
from rich.text import Text
from paceline_agent.top.terminal import Terminal

def frames():
    yield Text("first")
    yield Text("second")
    {end}

source = frames()
Terminal(Console()).run(lambda: next(source), 0.05)
print("went on")
"""


@pytest.mark.parametrize(
    ("end", "status", "words"),
    [
        ("raise ValueError('no frame')", 1, "ValueError: no frame"),
        ("sys.exit(7)", 7, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM); yield Text('third')", 0, "went on"),
        ("import os; os.write(1, b'\\\\n' * 99); raise KeyboardInterrupt", -2, "KeyboardInterrupt"),
    ],
)
def test_it_is_given_back(end: str, status: int, words: str) -> None:
    terminal = InTerminal([sys.executable, "-c", DRAW.format(end=end)])
    assert terminal.ends() == status
    assert terminal.attributes() == terminal.before
    screen = terminal.screen
    assert not screen.alternate and not screen.cursor_hidden
    assert words in screen.text
    assert "second" in terminal.output
    terminal.close()


def test_without_keys_it_still_shows_and_ends() -> None:
    code = DRAW.format(end="import os, signal; os.kill(os.getpid(), signal.SIGHUP); yield Text('third')")
    terminal = InTerminal(["/bin/sh", "-c", 'exec "$0" -c "$1" < /dev/null', sys.executable, code])
    assert terminal.ends() == 0
    assert "third" in terminal.output
    assert terminal.attributes() == terminal.before
    terminal.close()
