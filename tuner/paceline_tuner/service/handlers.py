"""One function an address: decode, do it in one transaction, encode."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NoReturn

from aiohttp import web

from paceline_exporters.messages import Outcome, Report, require

from . import asks, ends, explaining, heartbeats, studies, views
from . import metrics as own_metrics
from . import windows as window_store
from .errors import CorrectRequest, TryAgain
from .progress import cancel as cancel_study
from .service import Service
from .work import Work


async def read_object(request: web.Request) -> dict[str, Any]:
    """The request's body, which must be one JSON object without NaN and infinities."""
    try:
        data = json.loads(await request.read() or b"{}", parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise CorrectRequest(f"the body is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise CorrectRequest(f"expected a JSON object as the body, got {type(data).__name__}")
    return data


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON; unknown numbers travel as null")


async def create_study(service: Service, request: web.Request) -> web.Response:
    """Make a study; the same one again is answered with what there is."""
    spec = studies.decode(await read_object(request))
    new, view = await service.transact(studies.create, spec)
    return web.json_response(view, status=201 if new else 200)


async def list_studies(service: Service, _request: web.Request) -> web.Response:
    """All studies, without their trials."""
    return web.json_response(await service.transact(views.all_studies))


async def get_study(service: Service, request: web.Request) -> web.Response:
    """Where a study stands, its trials and their runs."""
    with_trials = request.query.get("trials") != "none"
    return web.json_response(await service.transact(views.study_view, request.match_info["name"], with_trials))


async def ask(service: Service, request: web.Request) -> web.Response:
    """What to run next; the same client_id and request_id get the same proposal again."""
    asked = asks.Ask.decode(await read_object(request))
    return web.json_response(await service.ask(request.match_info["name"], asked))


async def open_runs(service: Service, request: web.Request) -> web.Response:
    """A client's runs that nobody ended."""
    client_id = require(request.query, "client_id", str)

    def find(work: Work) -> list[asks.Answer]:
        return asks.unfinished(work, work.study(request.match_info["name"]), client_id)

    return web.json_response({"open": await service.transact(find)})


async def cancel(service: Service, request: web.Request) -> web.Response:
    """End a study; what runs is told to stop."""
    name = request.match_info["name"]

    def end_it(work: Work) -> dict[str, Any]:
        cancel_study(work, work.study(name))
        return views.study_view(work, name, with_trials=False)

    return web.json_response(await service.transact(end_it))


async def best(service: Service, request: web.Request) -> web.Response:
    """The best configuration known, and its proof."""
    return web.json_response(await service.transact(views.best, request.match_info["name"]))


async def normal_proposal(service: Service, request: web.Request) -> web.Response:
    """The proven configuration for a normal run, else the empty one and why."""
    even_unproven = request.query.get("even_unproven") == "1"
    found = await service.transact(views.normal_proposal, request.match_info["name"], even_unproven)
    return web.json_response(found)


async def importance(service: Service, request: web.Request) -> web.Response:
    """How much each knob explains of the objective."""
    return web.json_response(await service.importance(request.match_info["name"]))


async def study_events(service: Service, request: web.Request) -> web.Response:
    """What was decided in a study, when and why."""
    return web.json_response(await service.transact(views.log_of, request.match_info["name"]))


async def windows(service: Service, request: web.Request) -> web.Response:
    """News of rings; acknowledged after the commit, repeats count once."""
    report = Report.decode(await read_object(request))
    return web.json_response((await service.transact(window_store.take, report)).encode())


async def heartbeat(service: Service, request: web.Request) -> web.Response:
    """Whether a run goes on, and why."""
    return web.json_response((await service.transact(heartbeats.beat, request.match_info["run_id"])).encode())


async def explanation(service: Service, request: web.Request) -> web.Response:
    """Why a run's steps take as long as they do, on which rank, and what to do about it."""
    reports = await service.transact(explaining.stored, request.match_info["run_id"])
    return web.json_response(await asyncio.to_thread(explaining.explain, reports))


async def end(service: Service, request: web.Request) -> web.Response:
    """How a run ended; the same request_id gets the same answer again."""
    data = await read_object(request)
    outcome, request_id = Outcome.decode(data), require(data, "request_id", str)
    answer = await service.transact(ends.take, request.match_info["run_id"], outcome, request_id[:128])
    return web.json_response(answer)


async def openapi(_service: Service, _request: web.Request) -> web.Response:
    """This document."""
    from .routes import document  # the table of routes names this function

    return web.json_response(document())


async def healthz(_service: Service, _request: web.Request) -> web.Response:
    """The process answers."""
    return web.json_response({"status": "ok"})


async def readyz(service: Service, _request: web.Request) -> web.Response:
    """The database answers and the sampler lives."""
    if service.sampler.pid is None:
        raise TryAgain("the sampler's process is not up: ask again in a moment")
    await service.transact(_nothing)
    return web.json_response({"status": "ready", "sampler_pid": service.sampler.pid})


def _nothing(_work: Work) -> None:
    """A transaction that only shows that one can be made."""


async def metrics(service: Service, _request: web.Request) -> web.Response:
    """The service's own metrics."""
    page = service.metrics.render(await service.census())
    return web.Response(body=page, headers={"Content-Type": own_metrics.CONTENT_TYPE})
