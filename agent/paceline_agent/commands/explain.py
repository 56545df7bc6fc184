"""Say why a run's steps take as long as they do, on which rank, and what to do about it.

Asks agents (one per node of the run: a slow rank on another node is found by comparing steps), a tuner, or the
rings in a directory, also after all processes are gone. The exit status is 0 where there is an answer, else 1.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from urllib.parse import quote

from paceline_exporters.attach.layout import STEP_CAPACITY
from paceline_exporters.diagnosis.explanation import Explanation
from paceline_exporters.following import Followers
from paceline_exporters.messages import MessageError

from ..diagnosis.asking import NoSuchRun, choose, explain_by_agents
from ..diagnosis.runs import Runs
from ..diagnosis.text import printable, text
from ..peer import Peer, PeerError
from ..settings import DEFAULT_ADDRESS

TUNER_PORT = 19471
TUNER_SECONDS = 30.0
"""A tuner reads and replays what it has stored."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add("run", nargs="?", metavar="RUN", help="the run's id; may be left out where there is one run only")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--agent",
        action="append",
        default=[],
        metavar="URL",
        help=f"agent of a node of the run, once for each node; http://{DEFAULT_ADDRESS} where none is named",
    )
    where.add_argument("--tuner", metavar="URL", default=None, help="tuner that the run reports to")
    where.add_argument("--rings", metavar="DIR", type=Path, default=None, help="directory of the ranks' rings")
    add("--json", action="store_true", help="print JSON instead of text")


def run(args: argparse.Namespace) -> int:
    """The exit status: 0 where there is an answer, else 1."""
    try:
        found = _explanation(args)
    except (NoSuchRun, PeerError, MessageError) as error:
        sys.stderr.write(printable(f"paceline explain: {error}") + "\n")
        return 1
    sys.stdout.write(json.dumps(found.encode(), indent=2) + "\n" if args.json else text(found))
    return 0


def _explanation(args: argparse.Namespace) -> Explanation:
    if args.rings is not None:
        return _by_rings(args.rings, args.run)
    if args.tuner is not None:
        return _by_tuner(Peer(args.tuner, TUNER_PORT, TUNER_SECONDS, "tuner"), args.run)
    return explain_by_agents([Peer(address) for address in args.agent or [DEFAULT_ADDRESS]], args.run)


def _by_rings(directory: Path, run_id: str | None) -> Explanation:
    """From files alone; nothing has to live."""
    if not directory.is_dir():
        raise NoSuchRun(f"--rings: {directory} is not a directory")
    rings = Followers(directory, STEP_CAPACITY)
    runs = Runs(rings, lambda _: {}, keep_ended_seconds=math.inf, most_runs=sys.maxsize)
    try:
        names = [run.run_id for run in runs.look()]
        found = runs.explain(choose(run_id, names))
    finally:
        runs.close()
    assert found is not None
    return found


def _by_tuner(tuner: Peer, run_id: str | None) -> Explanation:
    if run_id is None:
        raise NoSuchRun("name the run: a tuner has many")
    return Explanation.decode(tuner.json(f"/v1/runs/{quote(run_id, safe='')}/explain"))
