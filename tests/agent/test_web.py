from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from paceline_agent.answers import Answers
from paceline_agent.diagnosis.pages import RunPages
from paceline_agent.service import Agent
from paceline_agent.settings import Limits, Settings
from paceline_exporters.metrics import Family, FamilyError, Samples
from paceline_exporters.sources import discover
from paceline_exporters.sources.contract import Source, World

OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
MINE = Family("paceline_mine", "Mine.", "gauge", "", ("which",))


class Custom:
    """A source of one series that behaves as the test wants."""

    name = "custom"
    period_seconds = 0.5
    deadline_seconds = 0.2
    families = (MINE,)

    def __init__(self, before: Callable[[], object] = lambda: None, series: int = 1) -> None:
        self._before = before
        self._series = series

    def close(self) -> None:
        pass

    def sample(self) -> Samples:
        self._before()
        samples = Samples()
        for which in range(self._series):
            samples.add(MINE, 1, str(which))
        return samples


class Running:
    """An agent in this event loop, and a client for it."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session

    async def get(self, path: str, **options: Any) -> tuple[int, str]:
        async with self.session.get(self.url + path, **options) as answer:
            return answer.status, await answer.text()

    async def values(self, path: str = "/metrics") -> dict[str, float]:
        """`name label label` -> value, through the real parser."""
        _, text = await self.get(path)
        samples = [sample for family in parse_text(text) for sample in family.samples]
        return {" ".join((s.name.removeprefix("paceline_"), *s.labels.values())): s.value for s in samples}


Start = Callable[..., Any]


@pytest.fixture
async def start(rings: Path) -> AsyncIterator[Start]:
    agents: list[Agent] = []
    session = aiohttp.ClientSession()

    async def begin(*extra: Source, **settings: Any) -> Running:
        world = World(rings=rings, node="node-a")
        chosen = Settings(listen_address="127.0.0.1:0", world=world, **settings)
        agents.append(Agent(chosen, [*discover(world), *extra]))
        return Running(await agents[-1].startup(), session)

    yield begin
    await session.close()
    for agent in agents:
        await agent.shutdown()


async def test_a_step_reaches_the_scrape(start: Start, trainer: Any, eventually: Any) -> None:
    writer, agent = trainer(), await start()
    writer.steps({"step": 1, "step_seconds": 0.5})

    async def visible() -> bool:
        found: dict[str, float] = await agent.values()
        return found.get("steps_total run-1 0") == 1

    await eventually(visible, "the step in /metrics")


async def test_both_formats_are_clean(start: Start, trainer: Any, eventually: Any) -> None:
    trainer().steps({"step": 1, "loss": 2.0})
    agent = await start()
    await eventually(lambda: _ready(agent), "readiness")
    async with agent.session.get(agent.url + "/metrics", headers=OPENMETRICS) as answer:
        assert answer.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        openmetrics = {family.name for family in parse_openmetrics(await answer.text())}
    async with agent.session.get(agent.url + "/metrics", headers={"Accept": "text/plain"}) as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        text = {family.name for family in parse_text(await answer.text())}
    assert {name.removesuffix("_info") for name in text} == openmetrics


async def _ready(agent: Running) -> bool:
    status, _ = await agent.get("/readyz")
    return status == 200


async def test_gzip_when_asked(start: Start) -> None:
    agent = await start()
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        for encoding, unpack in (("gzip", gzip.decompress), ("identity", bytes)):
            async with session.get(agent.url + "/metrics", headers={"Accept-Encoding": encoding}) as answer:
                assert answer.headers.get("Content-Encoding", "identity") == encoding
                assert unpack(await answer.read()).startswith(b"# HELP paceline_agent_info")


async def test_all_lines_of_what_is_accepted_count(start: Start) -> None:
    agent = await start()
    headers = [("Accept", "text/html"), ("Accept", OPENMETRICS["Accept"])]
    headers += [("Accept-Encoding", "br"), ("Accept-Encoding", "gzip")]
    async with agent.session.get(agent.url + "/metrics", headers=CIMultiDict(headers)) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")


async def test_name_filters_by_source_and_family(start: Start, eventually: Any) -> None:
    agent = await start()
    await eventually(lambda: _ready(agent), "readiness")
    assert set(await agent.values("/metrics?name[]=paceline_host_cpus")) == {"host_cpus"}
    stem = [await agent.values(f"/metrics?name[]=paceline_agent{suffix}") for suffix in ("", "_info")]
    assert stem[0] == stem[1] and len(stem[0]) == 1
    names = await agent.values("/metrics?name[]=host&name[]=paceline_agent_open_files")
    assert {name.split("_")[0] for name in names} == {"host", "agent"}
    assert "agent_cpu_seconds_total" not in names
    status, text = await agent.get("/metrics?name[]=nonsense")
    assert (status, "nonsense" in text) == (400, True)


@pytest.mark.parametrize("error", [PermissionError(13, "no"), ValueError("no")])
async def test_a_failing_source_costs_only_itself(start: Start, eventually: Any, error: Exception) -> None:
    def fail() -> None:
        raise error

    agent = await start(Custom(fail))

    async def told() -> bool:
        found: dict[str, float] = await agent.values()
        return found.get("agent_source_success custom") == 0 and found.get("agent_source_success host") == 1

    await eventually(told, "the failure in /metrics")
    found = await agent.values()
    assert not any(name.startswith("mine") for name in found)
    assert found["host_cpus"] >= 1
    assert (
        sum(count for name, count in found.items() if name.startswith("agent_source_failures_total custom")) >= 1
    )
    assert (await agent.get("/readyz"))[0] == 503
    assert (await agent.get("/healthz"))[0] == 200


async def test_a_hanging_source_costs_only_itself(start: Start, eventually: Any) -> None:
    release, first = threading.Event(), iter([True])
    agent = await start(Custom(lambda: None if next(first, None) else release.wait()))

    async def gone() -> bool:
        found: dict[str, float] = await agent.values()
        return "mine 0" not in found and found.get("agent_source_failures_total custom deadline", 0) >= 1

    try:
        await eventually(gone, "the hanging source's series gone")
        found = await agent.values()
        assert found["agent_source_success custom"] == 0
        assert found["agent_source_series custom"] == 0
        assert found["agent_source_age_seconds custom"] > 1
        assert found["agent_source_success host"] == 1
    finally:
        release.set()


async def test_a_source_over_its_budget_is_cut_and_counted(start: Start, eventually: Any) -> None:
    agent = await start(Custom(series=500), series_per_source=300)

    async def cut() -> bool:
        found: dict[str, float] = await agent.values()
        return found.get("agent_source_series custom") == 300

    await eventually(cut, "the budget applied")
    found = await agent.values()
    assert found["agent_source_series_dropped_total custom"] >= 200
    assert found["agent_source_series_dropped_total host"] == 0


async def test_the_agents_own_series_have_no_budget(start: Start, eventually: Any) -> None:
    def own(found: dict[str, float]) -> set[str]:
        return {name for name in found if name.startswith("agent_") and not name.startswith("agent_cgroup")}

    free, tight = await start(Custom(series=50)), await start(Custom(series=50), series_per_source=3)
    for agent in (free, tight):
        await eventually(lambda agent=agent: _ready(agent), "readiness")
    found = await tight.values()
    assert own(found) == own(await free.values())
    assert found["agent_source_series_dropped_total custom"] >= 47


async def test_two_sources_of_one_family_are_refused(rings: Path) -> None:
    with pytest.raises(FamilyError, match=r"paceline_mine.*custom and other"):
        other = Custom()
        other.name = "other"
        Agent(Settings(world=World(rings=rings)), [Custom(), other])


async def test_rings_are_listed(start: Start, trainer: Any) -> None:
    writer = trainer(rank=1)
    writer.steps({"step": 1}, {"step": 2})
    trainer(run_id=None)
    agent = await start()
    status, text = await agent.get("/v1/rings")
    assert status == 200
    assert json.loads(text) == {
        "schema": 1,
        "node": "node-a",
        "tuner": None,
        "rings": [
            {
                "ring": writer.ring,
                "run_id": "run-1",
                "rank": 1,
                "world_size": 2,
                "attempt": 0,
                "alive": True,
                "next_record": 2,
            }
        ],
    }


async def test_the_index_links_to_everything(start: Start) -> None:
    agent = await start()
    _, page = await agent.get("/")
    for link in ("/metrics", "/healthz", "/readyz", "/v1/rings", "/metrics?name[]=host"):
        assert f'href="{link}"' in page
    assert (await agent.get("/nothing"))[0] == 404


async def test_a_request_with_a_body_is_refused(start: Start) -> None:
    agent = await start()
    assert (await agent.get("/metrics", data=b"x" * 10))[0] == 413


async def test_a_long_header_is_refused(start: Start) -> None:
    agent = await start()
    assert (await agent.get("/metrics", headers={"X-Long": "x" * 20_000}))[0] == 400


async def test_a_silent_connection_is_dropped(start: Start) -> None:
    agent = await start(limits=Limits(silent_seconds=0.1))
    _, _, port = agent.url.rpartition(":")
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    writer.write(b"GET /metrics HTTP/1.1\r\n")
    with pytest.raises(ConnectionResetError):
        async with asyncio.timeout(60):
            if not await reader.read():
                raise ConnectionResetError
    writer.close()


async def test_a_client_that_does_not_read_is_dropped(start: Start, eventually: Any) -> None:
    agent = await start(Custom(series=40_000), series_per_source=50_000, limits=Limits(send_seconds=0.2))
    await eventually(lambda: _ready(agent), "readiness")
    _, _, port = agent.url.rpartition(":")
    _reader, writer = await asyncio.open_connection("127.0.0.1", int(port), limit=1024)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 20)

    async def counted() -> bool:
        found: dict[str, float] = await agent.values("/metrics?name[]=paceline_agent_scrapes_total")
        return found.get("agent_scrapes_total slow_client", 0) >= 1

    await eventually(counted, "the slow client dropped")
    writer.transport.abort()


@pytest.fixture
async def idle_readers() -> AsyncIterator[Callable[..., Any]]:
    """Opens connections that ask for pages and read nothing."""
    writers: list[asyncio.StreamWriter] = []

    async def connect(agent: Running, path: str, count: int, address: str = "127.0.0.1") -> None:
        port = int(agent.url.rpartition(":")[2])
        for _ in range(count):
            with socket.socket() as sized:  # small, so that the answer waits with the agent
                sized.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sized.bind((address, 0))
                sized.connect(("127.0.0.1", port))
                _, writer = await asyncio.open_connection(sock=sized.dup(), limit=1024)
            writers.append(writer)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 20)

    yield connect
    for writer in writers:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2"])
async def test_clients_that_do_not_read_keep_nobody_from_scraping(
    start: Start, eventually: Any, idle_readers: Callable[..., Any], address: str
) -> None:
    limits = Limits(send_seconds=3600.0, unfinished_answers=4, unfinished_answers_of_peer=2)
    agent = await start(Custom(series=40_000), series_per_source=50_000, limits=limits)
    await eventually(lambda: _ready(agent), "readiness")
    for _ in range(3):
        await idle_readers(agent, "/metrics", 6, address)
        assert [(await agent.get("/metrics"))[0] for _ in range(4)] == [200] * 4

    async def dropped() -> bool:
        found: dict[str, float] = await agent.values("/metrics?name[]=paceline_agent_scrapes_total")
        return found["agent_scrapes_total slow_client"] >= 16  # but for the two that may still wait

    await eventually(dropped, "clients dropped beyond the limit")


async def test_a_client_that_does_not_read_another_page_is_dropped(
    start: Start, idle_readers: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> None:
    async def large(*_: Any) -> web.Response:
        return web.Response(body=bytes(20_000_000))

    taken: list[bool] = []
    send = Answers.send

    async def noting(self: Answers, *told: Any) -> bool:
        taken.append(await send(self, *told))
        return taken[-1]

    monkeypatch.setattr(Answers, "send", noting)
    monkeypatch.setattr(RunPages, "listing", large)
    agent = await start(limits=Limits(send_seconds=0.2))
    await idle_readers(agent, "/v1/runs", 1)
    await eventually(lambda: False in taken, "the client dropped")


async def test_requests_that_are_no_http_are_counted_and_said_once(
    start: Start, caplog: pytest.LogCaptureFixture, eventually: Any
) -> None:
    agent = await start()
    port = int(agent.url.rpartition(":")[2])
    for line in (b"GET /metrics HTTP/9.9", b"GET /metrics HTTP/1.1\r\nX", b"\x16\x03\x01\x02"):
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(line + b"\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(60):
                assert (await reader.read()).startswith(b"HTTP/1.0 400")
            writer.close()
    assert (await agent.values())["agent_scrapes_total bad_request"] == 15
    said = [record for record in caplog.records if "is no HTTP" in record.getMessage()]
    assert len(said) == 1
    assert said[0].exc_info is None
    assert "\n" not in said[0].getMessage()
