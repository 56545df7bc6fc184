"""The service's end of the sampler's process: starts it, feeds it what is new, starts it again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger(__name__)

LINE_BYTES = 64 * 1024 * 1024
FIRST_BACKOFF, LAST_BACKOFF = 0.1, 10.0
"""Seconds between two starts of a worker that keeps dying."""


class SamplerError(RuntimeError):
    """The sampler could not work with this study; the text is its own."""


@dataclass(frozen=True)
class History:
    """All that a sampler should know of one study."""

    spec: Mapping[str, Any]
    finished: Sequence[tuple[int, Mapping[str, Any], str, float | None]]
    """Trial number, parameters, complete/failed/pruned, value; in the order in which they ended."""
    running: Mapping[int, Mapping[str, Any]]


class Sampler:
    """One worker process, used by one caller at a time."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._sent: dict[str, dict[int, tuple[str, float | None]]] = {}
        """Study -> what this very process was told of it."""
        self._ids = itertools.count()
        self._backoff = FIRST_BACKOFF
        self._busy = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """The worker's process id while it lives."""
        alive = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process is not None and alive else None

    async def start(self) -> None:
        """Start the process ahead of the first question."""
        async with self._busy:
            await self._ensure()

    async def stop(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()

    async def suggest(self, study: str, history: History) -> tuple[dict[str, Any], str]:
        """Parameters for the next trial and the sampler's note, however often the worker dies meanwhile."""
        reply = await self._ask("suggest", study, history)
        return reply["params"], reply["note"]

    async def importance(self, study: str, history: History) -> dict[str, float]:
        """Knob -> share of the objective's variation that it explains."""
        return dict((await self._ask("importance", study, history))["importance"])

    async def _ask(self, operation: str, study: str, history: History) -> dict[str, Any]:
        async with self._busy:
            while True:
                try:
                    process = await self._ensure()
                    reply = await self._exchange(process, self._message(operation, study, history))
                except (OSError, ValueError, asyncio.IncompleteReadError) as error:
                    await self._mourn(error)
                    continue
                self._backoff = FIRST_BACKOFF
                if "error" in reply:
                    self._sent.pop(study, None)
                    raise SamplerError(reply["error"])
                self._sent[study] = {number: (state, value) for number, _, state, value in history.finished}
                return reply

    async def _ensure(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._sent.clear()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "paceline_tuner.sampling.worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=LINE_BYTES,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        return self._process

    async def _mourn(self, error: Exception) -> None:
        logger.warning("the sampler's process died (%s); it is started again in %.1f s", error, self._backoff)
        await self.stop()
        await asyncio.sleep(self._backoff)
        self._backoff = min(2 * self._backoff, LAST_BACKOFF)

    def _message(self, operation: str, study: str, history: History) -> dict[str, Any]:
        """Only what is new; everything when what was told before has changed."""
        told = self._sent.get(study)
        now = {number: (state, value) for number, _, state, value in history.finished}
        message: dict[str, Any] = {
            "id": next(self._ids),
            "op": operation,
            "study": study,
            "running": history.running,
        }
        if told is None or any(now.get(number) != end for number, end in told.items()):
            message |= {"spec": history.spec, "known": len(history.finished) + len(history.running)}
            told = {}
        return {**message, "finished": [item for item in history.finished if item[0] not in told]}

    async def _exchange(self, process: asyncio.subprocess.Process, message: dict[str, Any]) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(message).encode() + b"\n")
        await process.stdin.drain()
        while line := await process.stdout.readline():
            reply: dict[str, Any] = json.loads(line)
            if reply["id"] == message["id"]:
                return reply
        raise ConnectionError("it closed its output")
