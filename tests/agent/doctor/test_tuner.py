from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from paceline_service import Service

from paceline_agent.doctor.tuner import examine
from paceline_agent.doctor.visit import Visit


@pytest.fixture
def real(tmp_path: Path) -> Iterator[str]:
    """The URL of a real tuner."""
    service = Service(tmp_path, ["serve", "--database", tmp_path / "tuner.sqlite"]).start()
    yield service.url
    service.kill()


def test_none_was_asked_for(visit: Callable[..., Visit]) -> None:
    [found] = examine(visit())
    assert found.status == "absent"


def test_a_tuner(visit: Callable[..., Visit], real: str) -> None:
    [found] = examine(visit(tuner_url=f"{real}/"))
    assert (found.status, found.why) == ("ok", "")
    assert "Paceline tuner" in found.seen


def test_an_agent_is_no_tuner(visit: Callable[..., Visit], start_agent: Callable[..., Any]) -> None:
    [found] = examine(visit(tuner_url=start_agent().url))
    assert (found.status, found.why) == ("broken", "it answers 404 Not Found")


async def test_a_service_that_describes_something_else(visit: Callable[..., Visit]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps({"info": {}, "paths": {"/a": {}}}).encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        [found] = await asyncio.to_thread(lambda: [*examine(visit(tuner_url=url))])
    assert (found.status, found.seen) == ("broken", f"{url} is not a tuner")
    assert found.why == "its /openapi.json knows no /v1/windows"


def test_nobody_listens(visit: Callable[..., Visit], unused_port: int) -> None:
    [found] = examine(visit(tuner_url=f"http://127.0.0.1:{unused_port}"))
    assert (found.status, found.why) == ("broken", "connection refused")
    assert f"paceline serve --web.listen-address 127.0.0.1:{unused_port}" in found.fix


def test_the_port_of_an_address_without_one(visit: Callable[..., Visit]) -> None:
    [found] = examine(visit(tuner_url="http://user@no-such-host.invalid/"))
    assert "paceline serve --web.listen-address no-such-host.invalid:80)" in found.fix
