"""A tuner's end of the wire, and agents in this process and in their own."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from paceline_exporters.messages import Acknowledgement, MessageError, Report, RingMark

COMMAND = [
    sys.executable,
    "-W",
    "always::ResourceWarning",
    "-c",
    "import sys; from paceline_exporters.cli import main; sys.exit(main())",
    "agent",
]


class Tuner:
    """Takes reports over real HTTP and keeps marks, as the service does."""

    def __init__(self) -> None:
        self.windows: list[tuple[str, int, int]] = []
        """Ring, first and last record, as they came."""
        self.reports: list[Report] = []
        self.refused_runs: set[str] = set()
        self.unknown_runs: set[str] = set()
        self.status = 200
        self.port = 0
        self._marks: dict[str, RingMark] = {}
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/v1/windows", self._take)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def records(self, ring: str) -> list[int]:
        """The records taken of one ring, in the order they came."""
        return [n for name, first, last in self.windows if name == ring for n in range(first, last + 1)]

    async def _take(self, request: web.Request) -> web.Response:
        if self.status != 200:
            return web.Response(status=self.status)
        try:
            report = Report.decode(await request.json())
        except MessageError as error:
            return web.Response(status=400, text=str(error))
        if any(ring.run_id in self.refused_runs for ring in report.rings):
            return web.Response(status=400, text="refused")
        self.reports.append(report)
        for ring in report.rings:
            known = ring.run_id not in self.unknown_runs
            mark = self._marks.get(ring.ring, RingMark(0, 0, 0, known))
            if ring.window is not None and known:
                self.windows.append((ring.ring, max(ring.window.first, mark.next_record), ring.window.last))
            record = max(mark.next_record, ring.window.last + 1) if ring.window else mark.next_record
            event = ring.events[-1].number + 1 if ring.events else mark.next_event
            self._marks[ring.ring] = RingMark(record, event, ring.generation, known)
        answer = Acknowledgement({ring.ring: self._marks[ring.ring] for ring in report.rings})
        return web.json_response(answer.encode())


@pytest.fixture
async def tuner() -> AsyncIterator[Tuner]:
    one = Tuner()
    await one.start()
    yield one
    await one.stop()


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def command() -> list[str]:
    """`paceline agent`, as the interpreter of the tests runs it."""
    return COMMAND


class AgentProcess:
    """A real agent in a process of its own."""

    def __init__(self, *flags: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "--web.listen-address=127.0.0.1:0", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        match = re.fullmatch(r"paceline agent: listening on (http://127\.0\.0\.1:\d+)\n", line)
        if match is None:
            self.end(signal.SIGKILL)
            raise AssertionError(f"the agent said {line!r}")
        self.url = match[1]

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Exit status and standard error."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=120)
        return self.process.returncode, errors


@pytest.fixture
def start_agent(rings: Path, tmp_path: Path) -> Iterator[Callable[..., AgentProcess]]:
    started: list[AgentProcess] = []

    def start(*flags: str) -> AgentProcess:
        own = (f"--rings.directory={rings}", f"--spool.directory={tmp_path / 'spool'}", "--node=node-a")
        started.append(AgentProcess(*own, *flags))
        return started[-1]

    yield start
    for agent in started:
        agent.end(signal.SIGKILL)


async def eventually(condition: Callable[[], Any] | Callable[[], Awaitable[Any]], what: str) -> Any:
    """Waits for something that another process or thread does; generous, so that a busy machine is no failure."""
    for _ in range(2400):
        found = condition()
        found = await found if isinstance(found, Awaitable) else found
        if found:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"never happened: {what}")


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., Awaitable[Any]]:
    return eventually
