"""The agent's HTTP server: it joins bytes that are ready, and lets no client hold it up."""

from __future__ import annotations

import asyncio
import html
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler

from paceline_exporters.messages import SCHEMA
from paceline_exporters.metrics import CONTENT_TYPES, Family, Renderer, Section, exposition, exposition_gzip

from .access import Access
from .answers import Answers
from .complaints import Complaints
from .connections import Connections
from .diagnosis.pages import RUNS, RunPages
from .itself import Itself
from .negotiation import accepts_gzip, choose_format
from .sampler import Sampler
from .settings import Settings, split_address
from .tls_door import TlsDoors

METRICS = "/metrics"
PAGES = (METRICS, "/healthz", "/readyz", "/v1/rings")
STUCK_SECONDS = 5.0
"""A loop that has not beaten for so long is stuck."""
BEAT_SECONDS = 1.0


class UnknownName(ValueError):
    """A `name[]` that is neither a source nor a family: correct the scrape's parameters."""


class ListenError(Exception):
    """The address cannot be listened on; the text says why and what to do."""


@dataclass
class Exposition:
    """All that a scrape can ask for."""

    itself: Itself
    samplers: Sequence[Sampler]

    def __post_init__(self) -> None:
        # No budget: the agent's own series are as many as its code says, and tell what the others' budget cut.
        self._renderer = Renderer(self.itself.families, sys.maxsize)
        self._names: dict[str, tuple[Family, ...]] = {}
        owners = [(sampler.source.name, sampler.source.families) for sampler in self.samplers]
        for name, families in [(self.itself.name, self.itself.families), *owners]:
            self._names[name] = tuple(families)
            self._names.update((family.name, (family,)) for family in families)
        for family in [family for found in self._names.values() for family in found]:
            self._names.setdefault(family.stem, (family,))  # as OpenMetrics calls it

    def sections(self, names: Sequence[str] = ()) -> list[Section]:
        """What is fresh, of these sources and families or of all. Raises UnknownName."""
        unknown = [name for name in names if name not in self._names]
        if unknown:
            raise UnknownName(f"no source and no family is named {', '.join(unknown)}; see / for the sources")
        own = self._renderer.render(self.itself.sample())
        fresh = [own, *(section for sampler in self.samplers if (section := sampler.fresh()) is not None)]
        if not names:
            return fresh
        wanted = frozenset(family for name in names for family in self._names[name])
        return [section.only(wanted) for section in fresh]


class Web:
    """Serves one agent."""

    def __init__(self, settings: Settings, shown: Exposition, access: Access, runs: RunPages) -> None:
        self._settings = settings
        self._shown = shown
        self._runs = runs
        self._access = access
        self._answers = Answers(settings.limits)
        self._beat = time.monotonic()
        self._runner: web.AppRunner | None = None
        self._connections: Connections | None = None
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen; returns the URL. Raises ListenError."""
        self._runner = web.AppRunner(
            self._application(),
            access_log=None,
            logger=Complaints(self._count_malformed).logger(),
            keepalive_timeout=self._settings.limits.keepalive_seconds,
            max_line_size=self._settings.limits.line_bytes,
            max_field_size=self._settings.limits.line_bytes,
        )
        await self._runner.setup()
        host, port = split_address(self._settings.listen_address)
        try:
            self._server = await asyncio.get_running_loop().create_server(
                self._entrance(self._runner), host or None, port, backlog=self._settings.limits.connections
            )
        except OSError as error:
            await self._runner.cleanup()
            raise ListenError(
                f"cannot listen on {self._settings.listen_address} ({error.strerror}): "
                "free the port or set --web.listen-address"
            ) from error
        return _url(self._server, "https" if self._access.encrypted else "http")

    async def stop(self) -> None:
        """Take no more connections, end those that are open."""
        if self._server is not None:
            self._server.close()
        if self._connections is not None and self._connections.doors is not None:
            self._connections.doors.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def watch(self) -> None:
        """Beat, and close connections that have waited too long; for ever."""
        assert self._connections is not None
        while True:
            due = time.monotonic() + BEAT_SECONDS
            await asyncio.sleep(BEAT_SECONDS)
            self._beat = time.monotonic()
            self._shown.itself.loop_lag_seconds = max(0.0, self._beat - due)
            self._connections.close_overdue()

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[self._answer])
        app.on_response_prepare.append(self._access.add_headers)
        handlers = (self._metrics, self._healthz, self._readyz, self._rings)
        app.add_routes([web.get(path, handler) for path, handler in zip(PAGES, handlers, strict=True)])
        app.add_routes(self._runs.routes())
        app.router.add_get("/", self._index)
        return app

    def _entrance(self, runner: web.AppRunner) -> Callable[[], asyncio.Protocol]:
        limits, server = self._settings.limits, runner.server
        assert server is not None
        self._connections = Connections(server, limits)
        if not self._access.encrypted:
            return self._connections
        self._connections.doors = TlsDoors(
            self._connections, self._access.context, limits.silent_seconds, came=self._connections.make_room
        )
        return self._connections.doors

    def _count_malformed(self) -> None:
        self._shown.itself.scrapes.results["bad_request"] += 1

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Every page's way in and out: who may ask, and that the answer is taken in time."""
        assert self._connections is not None
        with self._connections.answering(request.protocol):
            try:
                response = await self._response(request, handler)
            except web.HTTPException as error:
                await self._answers.send(request, error)
                raise
            taken = await self._answers.send(request, response)
            if request.path == METRICS and response.status == 200:
                self._shown.itself.scrapes.results["ok" if taken else "slow_client"] += 1
            return response

    async def _response(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.can_read_body:
            raise web.HTTPRequestEntityTooLarge(max_size=0, actual_size=request.content_length or 1)
        return await self._access.refusal(request) or await handler(request)

    async def _metrics(self, request: web.Request) -> web.Response:
        scrapes, began = self._shown.itself.scrapes, time.perf_counter()
        try:
            sections = self._shown.sections(request.query.getall("name[]", ()))
        except UnknownName as error:
            scrapes.results["bad_request"] += 1
            return web.Response(status=400, text=f"{error}\n")
        response = _encoded(request, sections)
        scrapes.seconds.observe(time.perf_counter() - began)
        return response

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        missing = [sampler.source.name for sampler in self._shown.samplers if sampler.finished is None]
        late = time.monotonic() - self._beat
        if missing:
            return web.Response(status=503, text=f"no sample yet of {', '.join(missing)}\n")
        if late > STUCK_SECONDS:
            return web.Response(status=503, text=f"the event loop stood still for {late:.1f} s\n")
        return web.Response(text="ready\n")

    async def _rings(self, _request: web.Request) -> web.Response:
        rings = await self._shown.itself.rings.listing()
        tuner = self._settings.tuner_url
        return web.json_response(
            {"schema": SCHEMA, "node": self._settings.world.node, "tuner": tuner, "rings": rings}
        )

    async def _index(self, _request: web.Request) -> web.Response:
        sources = [self._shown.itself.name, *(sampler.source.name for sampler in self._shown.samplers)]
        links = [(page, page) for page in (*PAGES, RUNS)]
        links += [(f"/metrics?name[]={name}", f"source {name} only") for name in sources]
        items = "".join(f'<li><a href="{html.escape(to)}">{html.escape(text)}</a></li>' for to, text in links)
        head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Paceline agent</title>'
        node = html.escape(self._settings.world.node)
        page = f"{head}<h1>Paceline agent on {node}</h1><ul>{items}</ul></html>"
        return web.Response(text=page, content_type="text/html")


def _encoded(request: web.Request, sections: Sequence[Section]) -> web.Response:
    form = choose_format(request.headers.getall("Accept", ()))
    headers = {"Content-Type": CONTENT_TYPES[form], "Vary": "Accept, Accept-Encoding"}
    if accepts_gzip(request.headers.getall("Accept-Encoding", ())):
        headers["Content-Encoding"] = "gzip"
        return web.Response(body=exposition_gzip(sections, form), headers=headers)
    return web.Response(body=exposition(sections, form), headers=headers)


def _url(server: asyncio.Server, scheme: str) -> str:
    host, port, *_ = server.sockets[0].getsockname()
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
