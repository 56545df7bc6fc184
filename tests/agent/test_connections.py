"""Who is let go when there are too many, and when one has waited too long; with real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from paceline_agent.connections import Connections
from paceline_agent.service import Agent
from paceline_agent.settings import Limits, Settings
from paceline_exporters.sources.contract import World

LONG = 3600.0
ASK = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
Start = Callable[..., Awaitable[int]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    agents: list[Agent] = []

    async def begin(**limits: Any) -> int:
        """Its port."""
        settings = Settings("127.0.0.1:0", world=World(rings=tmp_path / "rings"), limits=Limits(**limits))
        agents.append(Agent(settings, []))
        return int((await agents[-1].startup()).rpartition(":")[2])

    yield begin
    for agent in agents:
        await agent.shutdown()


class Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Client:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()
        with suppress(ConnectionError):
            await self.writer.wait_closed()

    async def ask(self) -> bool:
        """Whether a request is answered."""
        async with asyncio.timeout(60):
            try:
                self.writer.write(ASK)
                return b"alive" in await self.reader.readuntil(b"alive\n")
            except (ConnectionError, asyncio.IncompleteReadError):
                return False

    async def closed(self) -> None:
        """Waits for the end."""
        async with asyncio.timeout(60):
            try:
                assert await self.reader.read() == b""
            except ConnectionResetError:
                return


async def connected(stack: AsyncExitStack, port: int) -> Client:
    return await stack.enter_async_context(Client(port))


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as held:
        yield held


async def test_those_that_spoke_once_do_not_stay_beyond_the_limit(start: Start, stack: AsyncExitStack) -> None:
    port = await start(connections=4, silent_seconds=LONG)
    clients = []
    for _ in range(40):
        clients.append(await connected(stack, port))
        assert await clients[-1].ask()
    for client in clients[:-4]:
        await client.closed()
    assert [await client.ask() for client in clients[-4:]] == [True] * 4


async def test_the_longest_idle_goes_first_and_then_who_never_spoke(start: Start, stack: AsyncExitStack) -> None:
    port = await start(connections=3, silent_seconds=LONG)
    silent, first, second = [await connected(stack, port) for _ in range(3)]
    assert await first.ask()
    assert await second.ask()
    assert await first.ask()
    third = await connected(stack, port)
    await second.closed()
    fourth = await connected(stack, port)
    await first.closed()
    fifth = await connected(stack, port)
    await silent.closed()
    assert [await client.ask() for client in (third, fourth, fifth)] == [True] * 3


async def test_an_idle_one_is_closed_after_its_time(start: Start, stack: AsyncExitStack) -> None:
    client = await connected(stack, await start(keepalive_seconds=0.2))
    assert await client.ask()
    await client.closed()


async def test_each_further_request_must_come_in_time(start: Start, stack: AsyncExitStack) -> None:
    port = await start(silent_seconds=2.0, keepalive_seconds=LONG)
    idle, begun = await connected(stack, port), await connected(stack, port)
    assert await idle.ask()
    assert await begun.ask()
    begun.writer.write(ASK[:10])
    await begun.closed()
    assert await idle.ask()


class Transport(asyncio.Transport):
    """Tells whether it was aborted."""

    aborted = False

    def abort(self) -> None:
        self.aborted = True


def test_one_that_is_answered_stays_and_the_newcomer_goes() -> None:
    connections = Connections(asyncio.Protocol, Limits(connections=1))
    first, second = Transport(), Transport()
    protocol = connections()
    protocol.connection_made(first)
    with connections.answering(protocol.speaker):  # type: ignore[attr-defined]
        connections().connection_made(second)
    assert (first.aborted, second.aborted) == (False, True)
    third = Transport()
    connections().connection_made(third)
    assert (first.aborted, third.aborted) == (True, False)
