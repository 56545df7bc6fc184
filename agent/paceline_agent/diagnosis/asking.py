"""One explanation of a run from all the agents that have ranks of it, aligned by step number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import quote

from paceline_exporters.diagnosis.explanation import Explanation
from paceline_exporters.diagnosis.hang import Progress
from paceline_exporters.diagnosis.replay import replay, steps_to_ask
from paceline_exporters.messages import MessageError, Report, RingReport, require

from ..peer import NotThere, Peer, PeerError

MOST_AT_ONCE = 16
EARLIER = "a run that ended over 5 minutes ago is explained from its files, on its node: --rings DIR"
START = "start `paceline agent` there, or name another address with --agent"
T = TypeVar("T")


class NoSuchRun(Exception):
    """The run is not where it was looked for; the text lists what is."""


@dataclass(frozen=True)
class Steps:
    """What one agent holds of a run."""

    rings: Sequence[RingReport]
    progress: Mapping[int, Progress]

    @classmethod
    def decode(cls, data: Mapping[str, Any]) -> Steps:
        """From a JSON object; raises MessageError."""
        places = require(data, "progress", dict)
        return cls(Report.decode(data).rings, {int(r): _progress(p) for r, p in places.items() if r.isdecimal()})


def explain_by_agents(peers: Sequence[Peer], run_id: str | None) -> Explanation:
    """Raises NoSuchRun, and PeerError where no agent answers. What single agents do not answer is missing."""
    troubles: list[str] = []
    listings = _each(peers, lambda peer: _runs(peer.json("/v1/runs")), troubles)
    if not listings:
        raise PeerError("; ".join(troubles))
    run_id = _chosen(run_id, sorted({name for runs in listings.values() for name in runs}), troubles)
    holders = [peer for peer, runs in listings.items() if run_id in runs]
    path = f"/v1/runs/{quote(run_id, safe='')}"
    told = _each(holders, lambda peer: Explanation.decode(peer.json(path)), troubles)
    if len(told) > 1:
        size = max(one.world_size for one in told.values())
        ask = f"{path}/steps?last={steps_to_ask(size)}"
        steps = _each(list(told), lambda peer: Steps.decode(peer.json(ask)), troubles)
        found = _combined(list(steps.values()), list(told.values()))
    else:
        found = next(iter(told.values()), None)
    if found is None:
        raise PeerError("; ".join(troubles))
    hint = ["Name the agents of the other nodes, each with --agent, to see their ranks."] if found.unseen else []
    stacks = [line for one in told.values() for line in one.stacks]
    return replace(found, missing=[*troubles, *found.missing, *hint], stacks=stacks)


def choose(run_id: str | None, runs: Sequence[str]) -> str:
    """The run meant: the one named, else the only one. Raises NoSuchRun."""
    if run_id in runs:
        return str(run_id)
    there = ", ".join(runs)
    if run_id is not None:
        raise NoSuchRun(
            f"no run {run_id!r}; " + (f"the runs there are: {there}" if runs else "there are no runs")
        )
    if len(runs) != 1:
        raise NoSuchRun(f"which run? There are {there}" if runs else "there are no runs: has a job taken a step?")
    return runs[0]


def _chosen(run_id: str | None, runs: Sequence[str], troubles: Sequence[str]) -> str:
    """As `choose`, of what agents have; who did not answer may have the run."""
    try:
        return choose(run_id, runs)
    except NoSuchRun as error:
        elsewhere = [] if run_id is None and runs else [EARLIER]
        raise NoSuchRun("; ".join([str(error), *troubles, *elsewhere])) from error


def _combined(steps: Sequence[Steps], told: Iterable[Explanation]) -> Explanation | None:
    rings = {ring.ring: ring for one in steps for ring in one.rings}  # a directory may have two agents
    if not rings:
        return None
    progress = {rank: place for one in steps for rank, place in one.progress.items()}
    before = sorted((finding for one in told for finding in one.history), key=lambda one: one.found_step)
    return replay(list(rings.values()), progress, before)


def _each(peers: Sequence[Peer], ask: Callable[[Peer], T], troubles: list[str]) -> dict[Peer, T]:
    """Ask all at once; who does not answer as expected adds to `troubles`."""

    def one(peer: Peer) -> T | str:
        try:
            return ask(peer)
        except NotThere:
            return f"{peer.url}: the run left while it was asked about"
        except PeerError as error:
            refused = isinstance(error.__cause__, ConnectionRefusedError)
            return f"{error}: {START}" if refused else str(error)
        except MessageError as error:
            return f"{peer.url} answers what this version does not understand: {error}"

    with ThreadPoolExecutor(min(MOST_AT_ONCE, max(1, len(peers)))) as pool:
        answers = list(pool.map(one, peers))
    troubles += [answer for answer in answers if isinstance(answer, str)]
    return {peer: answer for peer, answer in zip(peers, answers, strict=True) if not isinstance(answer, str)}


def _runs(data: Mapping[str, Any]) -> list[str]:
    return [require(run, "run_id", str) for run in require(data, "runs", list)]


def _progress(data: Mapping[str, Any]) -> Progress:
    seconds = float(require(data, "seconds", (int, float)))
    age = data.get("step_age")  # an older agent's answer has none
    step_age = None if age is None else float(require(data, "step_age", (int, float)))
    return Progress(require(data, "step", int), require(data, "phase", str), seconds, step_age)
