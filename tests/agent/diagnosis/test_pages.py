"""A standstill, from the rings to the answer of `explain`: found, its stacks kept, and linked."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from paceline_service import Service

from paceline_agent.diagnosis.asking import NoSuchRun, explain_by_agents
from paceline_agent.peer import Peer, PeerError


def stacks(peer: Peer) -> Any:
    try:
        return explain_by_agents([peer], "stuck").stacks
    except (NoSuchRun, PeerError):
        return ()


async def test_a_standstill_is_found_and_its_stacks_are_linked(
    tmp_path: Path, rings: Path, trainer: Any, eventually: Any
) -> None:
    ranks = [trainer(rank=rank, run_id="stuck") for rank in range(2)]
    # Steps that ended half a minute ago, each in 0.5 s: ten seconds of silence are a standstill.
    for number in range(1, 41):
        for rank in ranks:
            ended = time.monotonic() - 30.0
            rank.steps({"step": number, "monotonic": ended, "step_seconds": 0.5, "wall": time.time()})
    for rank in ranks:
        rank.event("first_step")
    flags = ("--rings.directory", rings, "--state.directory", tmp_path / "state", "--node", "node-a")
    agent = Service(tmp_path, ("agent", *flags)).start()
    peer = Peer(agent.url)
    try:
        await eventually(lambda: stacks(peer), "the stacks to be linked")
        told = explain_by_agents([peer], "stuck")
        assert told.verdict.kind == "hung"
        (line,) = told.stacks
        kept = Path(line.rpartition("Kept in ")[2])
        assert kept.parent == tmp_path / "state" / "node-a" / "hangs"
        assert {path.name for path in kept.iterdir()} == {"capture.json", "rank-0.txt", "rank-1.txt"}
    finally:
        peer.close()
        agent.kill()
