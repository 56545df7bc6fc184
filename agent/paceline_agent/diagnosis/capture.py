"""What all ranks of a run here did while it stood still: asked once, kept in files, told in one sentence.

A capture is a directory `RUN-STEP-TIME` with rank-N.txt (stacks), rank-N.json (torch's flight recorder, where
there is one) and capture.json (the run, the step, and the sentence).
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote

from paceline_exporters.diagnosis.findings import Finding
from paceline_exporters.messages import MessageError, require

from .standing import Standing, ask

log = logging.getLogger(__name__)

MOST_KEPT = 20
"""Captures; the oldest goes first."""
MOST_BYTES = 8 * 2**20
"""Of one capture."""
RANK_SECONDS = 5.0
"""What asking one rank may take."""
MOST_AT_ONCE = 16
"""Ranks asked at the same time."""
NAME_CHARACTERS = 128
"""Of the run's name in that of a directory."""


@dataclass(frozen=True)
class Captured:
    """One standstill that was captured."""

    run_id: str
    step: int
    """The optimizer step it was found at."""
    wall: float
    """Unix time, seconds."""
    summary: str
    """One sentence: which ranks are elsewhere than the others."""
    files: Sequence[str]
    """Paths on this node."""

    def __str__(self) -> str:
        where = Path(self.files[0]).parent if self.files else "nowhere"
        return f"step {self.step}: {self.summary} Kept in {where}"

    @classmethod
    def read(cls, directory: Path) -> Self:
        """From its directory; raises OSError, MessageError."""
        try:
            data = json.loads((directory / "capture.json").read_text())
        except ValueError as error:
            raise MessageError(f"{directory}: {error}") from error
        files = sorted(str(path) for path in directory.glob("rank-*"))
        texts = {name: require(data, name, str) for name in ("run_id", "summary")}
        return cls(**texts, step=require(data, "step", int), wall=require(data, "wall", float), files=files)


class Capture:
    """Captures into `directory`, which is made when the first one is; keeps the latest."""

    def __init__(self, directory: Path, procfs: Path = Path("/proc")) -> None:
        self._directory = directory
        self._procfs = procfs
        self._threads: dict[str, threading.Thread] = {}

    def __call__(self, run_id: str, finding: Finding, rings: Mapping[int, Path]) -> None:
        """Begin to capture a run that stands still, in a thread of its own; a run that is at it is left alone."""
        self._threads = {name: thread for name, thread in self._threads.items() if thread.is_alive()}
        if rings and run_id not in self._threads:
            arguments = (run_id, finding.found_step, dict(rings))
            thread = threading.Thread(target=self._try, args=arguments, name="hang-capture", daemon=True)
            self._threads[run_id] = thread
            thread.start()

    def wait(self) -> None:
        """Until what was begun is written."""
        for thread in list(self._threads.values()):
            thread.join()

    def listing(self, run_id: str) -> list[Captured]:
        """Of this run, the latest first."""
        found = []
        for directory in self._kept():
            try:
                captured = Captured.read(directory)
            except (OSError, MessageError):  # removed meanwhile, or somebody else's
                continue
            found += [captured] if captured.run_id == run_id else []
        return found

    def _try(self, run_id: str, step: int, rings: Mapping[int, Path]) -> None:
        try:
            captured = self._capture(run_id, step, rings)
            log.warning("run %r stands still at step %d: %s", run_id, step, captured.summary)
        except OSError as error:
            log.warning("the stacks of run %r were not kept in %s: %s", run_id, self._directory, error)

    def _capture(self, run_id: str, step: int, rings: Mapping[int, Path]) -> Captured:
        wall = time.time()
        share = MOST_BYTES // (2 * len(rings) + 1)

        def one(ring: Path) -> Standing:
            try:
                return ask(ring, self._procfs, RANK_SECONDS, share)
            except OSError as error:  # it ended meanwhile
                return Standing("nothing", f"The rank could not be asked: {error}\n")

        ranks = sorted(rings)
        with ThreadPoolExecutor(min(MOST_AT_ONCE, len(ranks)), "hang-capture") as pool:
            standings = dict(zip(ranks, pool.map(one, (rings[rank] for rank in ranks)), strict=True))
        captured = Captured(run_id, step, wall, summarize(standings), [])
        self._write(captured, standings)
        return captured

    def _write(self, captured: Captured, standings: Mapping[int, Standing]) -> None:
        """All of it or nothing, under a name that others see only when it is whole."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(captured.wall)) + f".{captured.wall % 1 * 1e6:06.0f}Z"
        run = quote(captured.run_id, safe="").replace(".", "%2E")[:NAME_CHARACTERS]
        final = self._directory / f"{run}-{captured.step}-{stamp}"
        unfinished = self._directory / f".{final.name}"
        unfinished.mkdir(mode=0o700)
        try:
            for rank, standing in standings.items():
                (unfinished / f"rank-{rank}.txt").write_text(standing.stacks)
                if standing.flight_recorder is not None:
                    (unfinished / f"rank-{rank}.json").write_text(json.dumps(standing.flight_recorder))
            (unfinished / "capture.json").write_text(json.dumps(asdict(captured)))
            unfinished.rename(final)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        for old in self._kept()[MOST_KEPT:]:
            shutil.rmtree(old, ignore_errors=True)

    def _kept(self) -> list[Path]:
        """The latest first."""
        paths = (path for path in self._directory.glob("*") if not path.name.startswith("."))
        return sorted(paths, key=lambda path: path.name.rpartition("-")[2], reverse=True)


def summarize(standings: Mapping[int, Standing]) -> str:
    """Ranks by where their main threads are, the smallest group first: it is the one to look at."""
    groups: dict[str, list[int]] = {}
    for rank, standing in sorted(standings.items()):
        groups.setdefault(_place(standing), []).append(rank)
    parts = [
        f"{'rank' if len(ranks) == 1 else 'ranks'} {', '.join(map(str, ranks[:8]))}"
        f"{f' and {len(ranks) - 8} more' if len(ranks) > 8 else ''} {place}"
        for place, ranks in sorted(groups.items(), key=lambda group: (len(group[1]), group[1]))
    ]
    text = "; ".join(parts) + "."
    return text[0].upper() + text[1:]


def _place(standing: Standing) -> str:
    frames = standing.frames
    if not frames:
        return {"kernel": "does not answer", "nothing": "could not be asked"}.get(standing.how, "shows no stack")
    stuck = " and holds the interpreter's lock" if standing.how == "stuck" else ""
    return f"in {frames[0]}{_collective(standing)}{stuck}"


def _collective(standing: Standing) -> str:
    """The last collective that it began."""
    told = standing.flight_recorder
    entries = told.get("entries") if isinstance(told, dict) else None
    last = entries[-1] if isinstance(entries, list) and entries else None
    if not isinstance(last, dict):
        return ""
    return f", last collective {last.get('profiling_name')} {last.get('collective_seq_id')}"
