"""Clients that mean no good, before and behind a real TLS handshake."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from certificates import OPENSSL, Authority

from paceline_agent.service import Agent
from paceline_agent.settings import Limits, Settings
from paceline_exporters.metrics import Family, Samples
from paceline_exporters.sources.contract import World

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
MANY = Family("paceline_many", "Many.", "gauge", "", ("which",))


class Many:
    """A source whose answer is larger than any socket's buffers."""

    name = "many"
    period_seconds = 5.0
    deadline_seconds = 5.0
    families = (MANY,)

    def sample(self) -> Samples:
        samples = Samples()
        for which in range(40_000):
            samples.add(MANY, 1, str(which))
        return samples

    def close(self) -> None:
        pass


Start = Callable[..., Awaitable[int]]


@pytest.fixture
def trust(tmp_path: Path) -> ssl.SSLContext:
    authority = Authority(tmp_path)
    authority.issue("server")
    (tmp_path / "web.yml").write_text("tls_server_config: {cert_file: server.pem, key_file: server.key}\n")
    return authority.client()


@pytest.fixture
async def start(tmp_path: Path, trust: ssl.SSLContext) -> AsyncIterator[Start]:
    agents: list[Agent] = []

    async def begin(*sources: Many, **limits: Any) -> int:
        """Its port."""
        settings = Settings(
            *("127.0.0.1:0", tmp_path / "web.yml", World(rings=tmp_path / "rings")),
            series_per_source=50_000,
            limits=Limits(**limits),
        )
        agents.append(Agent(settings, sources))
        return int((await agents[-1].startup()).rpartition(":")[2])

    yield begin
    for agent in agents:
        await agent.shutdown()


async def scrape(port: int, trust: ssl.SSLContext, path: str = "/metrics") -> tuple[int, str]:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session,
        session.get(f"https://127.0.0.1:{port}{path}", ssl=trust) as answer,
    ):
        return answer.status, await answer.text()


async def closed(reader: asyncio.StreamReader) -> bool:
    """Waits for the end."""
    async with asyncio.timeout(60):
        try:
            return await reader.read() == b""
        except ConnectionResetError:
            return True


async def received(reader: asyncio.StreamReader) -> bytes:
    data = await reader.read(65536)
    assert data, "the connection was closed"
    return data


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00\x01"])
async def test_a_handshake_that_does_not_end_is_dropped(start: Start, said: bytes) -> None:
    port = await start(silent_seconds=0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    assert await closed(reader)
    writer.close()


async def test_what_is_no_tls_is_dropped(start: Start) -> None:
    port = await start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(60):
        assert not (await reader.read()).startswith(b"HTTP")
    writer.close()


async def test_the_oldest_of_too_many_handshakes_go(start: Start, trust: ssl.SSLContext) -> None:
    port = await start(connections=4, silent_seconds=3600.0)
    waiting = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
    for reader, _ in waiting[:4]:
        assert await closed(reader)
    assert (await scrape(port, trust))[0] == 200
    for _, writer in waiting:
        writer.close()


async def test_a_silent_connection_is_dropped(start: Start, trust: ssl.SSLContext) -> None:
    port = await start(silent_seconds=1.0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust)
    writer.write(b"GET /metrics HTTP/1.1\r\n")
    assert await closed(reader)
    writer.close()


async def test_a_client_that_does_not_read_is_dropped(
    start: Start, trust: ssl.SSLContext, eventually: Callable[..., Awaitable[Any]]
) -> None:
    port = await start(Many(), send_seconds=0.2)

    async def ready() -> bool:
        return (await scrape(port, trust, "/readyz"))[0] == 200

    await eventually(ready, "readiness")
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, limit=1024)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 20)

    async def counted() -> bool:
        _, text = await scrape(port, trust, "/metrics?name[]=paceline_agent_scrapes_total")
        return 'paceline_agent_scrapes_total{result="slow_client"} 0' not in text

    await eventually(counted, "the slow client dropped")
    writer.transport.abort()


async def test_a_request_that_comes_with_the_handshakes_end_is_answered(
    start: Start, trust: ssl.SSLContext
) -> None:
    """The client's last word of the handshake and its request in one segment, byte for byte as sent."""
    port = await start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trust.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    while True:
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            writer.write(outgoing.read())
            incoming.write(await received(reader))
    client.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    writer.write(outgoing.read())
    answer = b""
    async with asyncio.timeout(60):
        while b"alive" not in answer:
            incoming.write(await received(reader))
            try:
                answer += client.read()
            except ssl.SSLWantReadError:
                continue
    assert answer.startswith(b"HTTP/1.1 200 OK")
    writer.close()


async def test_a_body_and_a_long_header_are_refused(start: Start, trust: ssl.SSLContext) -> None:
    port = await start()
    async with aiohttp.ClientSession() as session:
        url = f"https://127.0.0.1:{port}/metrics"
        async with session.get(url, ssl=trust, data=b"x") as answer:
            assert answer.status == 413
        async with session.get(url, ssl=trust, headers={"X-Long": "x" * 20_000}) as answer:
            assert answer.status == 400


async def test_a_stop_ends_what_is_under_way(start: Start, tmp_path: Path) -> None:
    agent = Agent(Settings("127.0.0.1:0", tmp_path / "web.yml", World(rings=tmp_path / "rings")), [])
    port = int((await agent.startup()).rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.sleep(0)
    await agent.shutdown()
    assert await closed(reader)
    writer.close()
