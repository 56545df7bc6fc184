"""Watch runs, ranks, GPUs and NICs of one or many nodes: why steps take as long as they do, every second.

q quits. Where standard output is no terminal, or with --once, one frame is printed.
"""

from __future__ import annotations

import argparse
import os
import queue
import sys
import time
from collections.abc import Sequence

from ..peer import Peer, PeerError
from ..settings import DEFAULT_ADDRESS
from ..top.watch import PERIOD_SECONDS, Answer, Cluster, Watch

FIRST_SECONDS = 6.0
"""The first frame waits so long for agents that do not answer."""
PLAIN_SIZE = (160, 50)
"""Columns and lines of a frame that goes to no terminal."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--agent",
        action="append",
        default=[],
        metavar="URL",
        help=f"agent to ask, may be given more than once; http://{DEFAULT_ADDRESS} where none is named",
    )
    parser.add_argument("--once", action="store_true", help="print one frame and end")


def run(args: argparse.Namespace) -> int:
    """The exit status: 0 after a stop that was asked for; of one frame 1 where no agent answers."""
    try:
        peers = {peer.url: peer for peer in map(Peer, args.agent or [DEFAULT_ADDRESS])}
        return _watch(list(peers.values()), args.once)
    except PeerError as error:
        sys.stderr.write(f"paceline top: --agent: {error}\n")
        return 1
    except KeyboardInterrupt:  # before the terminal is ours
        return 0


def _watch(peers: Sequence[Peer], once: bool) -> int:
    # Only here: no other command of the agent needs the package.
    from rich.console import Console

    from ..top.frame import Frame
    from ..top.terminal import Terminal

    answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    cluster = Cluster([peer.url for peer in peers])
    for peer in peers:
        Watch(peer, answers).start()
    cluster.take(_first(answers, len(peers)))
    if once or not sys.stdout.isatty() or os.environ.get("TERM") in (None, "dumb", "unknown"):
        cluster.take(_first(answers, len(peers)))  # rates take two looks
        size = os.get_terminal_size(sys.stdout.fileno()) if sys.stdout.isatty() else PLAIN_SIZE
        # Both, or rich takes 80 columns for a terminal that it calls dumb.
        Console(width=size[0], height=size[1]).print(Frame(cluster))
        return int(all(node.trouble for node in cluster.nodes.values()))

    def draw() -> Frame:
        cluster.take(_waiting(answers))
        return Frame(cluster)

    Terminal(Console()).run(draw, PERIOD_SECONDS)
    return 0


def _first(answers: queue.SimpleQueue[Answer], agents: int) -> Sequence[Answer]:
    """At least one answer of each agent, or of those that answer in time."""
    found: list[Answer] = []
    until = time.monotonic() + FIRST_SECONDS
    while len({answer.agent for answer in found}) < agents and (left := until - time.monotonic()) > 0:
        try:
            found.append(answers.get(timeout=left))
        except queue.Empty:
            break
    return found


def _waiting(answers: queue.SimpleQueue[Answer]) -> Sequence[Answer]:
    found = []
    while not answers.empty():
        found.append(answers.get())
    return found
