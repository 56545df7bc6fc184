"""Every address of the service: one table registers the handlers and makes the OpenAPI document."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

from aiohttp import web

from . import handlers
from .schemas import Schema, components, reference
from .service import Service


class Handler(Protocol):
    """What answers a request."""

    __name__: str

    def __call__(self, service: Service, request: web.Request, /) -> Awaitable[web.StreamResponse]:
        """Answer, or raise a ServiceError."""


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


TEXT: Schema = {"type": "string"}
FREE: Schema = {"type": "object"}
SPEC = reference("StudySpec")
ASK = {
    "type": "object",
    "required": ["client_id", "request_id"],
    "properties": {"client_id": TEXT, "request_id": TEXT, "run_root": TEXT, "resume": {"type": "boolean"}},
}
ANSWER = {
    "oneOf": [
        _object(proposal=reference("Proposal")),
        _object(wait_seconds={"type": "number"}, reason=TEXT),
        _object(done={"const": True}, reason=TEXT),
        _object(open={"type": "array", "items": FREE}),
    ]
}
END = {"allOf": [reference("Outcome"), _object(request_id=TEXT)]}

EXPLANATION = _object(
    run_id=TEXT,
    attempt={"type": "integer"},
    world_size={"type": "integer"},
    verdict=_object(kind=TEXT, summary=TEXT, advice=TEXT, knobs={"type": "array", "items": TEXT}, numbers=FREE),
    history={"type": "array", "items": FREE},
    evidence=FREE,
    missing={"type": "array", "items": TEXT},
)


@dataclass(frozen=True)
class Route:
    """One method on one path."""

    method: str
    path: str
    handler: Handler
    """Its name is the operation's, its docstring the summary."""
    answer: Schema = field(default_factory=lambda: FREE)
    """Of success."""
    body: Schema | None = None
    errors: tuple[int, ...] = ()
    query: Mapping[str, str] = field(default_factory=dict)
    """Query parameter -> what it means."""
    media: str = "application/json"
    status: int = 200
    """Of success where something was made; then what was there already is answered with 200."""

    @property
    def name(self) -> str:
        """operationId; unique."""
        return self.handler.__name__

    @property
    def summary(self) -> str:
        """One sentence."""
        return " ".join((self.handler.__doc__ or "").split())


OPEN = _object(open={"type": "array", "items": FREE})
STUDY = "/v1/studies/{name}"
RUN = "/v1/runs/{run_id}"

ROUTES: tuple[Route, ...] = (
    Route("POST", "/v1/studies", handlers.create_study, body=_object(spec=SPEC), errors=(400, 409), status=201),
    Route("GET", "/v1/studies", handlers.list_studies),
    Route("GET", STUDY, handlers.get_study, errors=(404,), query={"trials": "`none` leaves the trials out"}),
    Route("POST", f"{STUDY}/proposals", handlers.ask, ANSWER, ASK, errors=(400, 404)),
    Route("GET", f"{STUDY}/open", handlers.open_runs, OPEN, errors=(400, 404), query={"client_id": "who asked"}),
    Route("POST", f"{STUDY}/cancel", handlers.cancel, errors=(404,)),
    Route("GET", f"{STUDY}/best", handlers.best, errors=(404, 409)),
    Route(
        "GET",
        f"{STUDY}/proposal",
        handlers.normal_proposal,
        _object(proposal=reference("Proposal"), reason=TEXT),
        errors=(404, 409),
        query={"even_unproven": "`1` gives the best known although it is not proved"},
    ),
    Route(
        "GET", f"{STUDY}/importance", handlers.importance, _object(importance=FREE, reason=TEXT), errors=(404,)
    ),
    Route(
        "GET",
        f"{STUDY}/events",
        handlers.study_events,
        _object(events={"type": "array", "items": FREE}),
        errors=(404,),
    ),
    Route(
        "POST", "/v1/windows", handlers.windows, reference("Acknowledgement"), reference("Report"), errors=(400,)
    ),
    Route("POST", f"{RUN}/heartbeat", handlers.heartbeat, reference("Decision"), errors=(404,)),
    Route("POST", f"{RUN}/end", handlers.end, _object(state=TEXT, reason=TEXT), END, errors=(400, 404)),
    Route("GET", f"{RUN}/explain", handlers.explanation, EXPLANATION, errors=(404,)),
    Route("GET", "/openapi.json", handlers.openapi),
    Route("GET", "/healthz", handlers.healthz),
    Route("GET", "/readyz", handlers.readyz),
    Route("GET", "/metrics", handlers.metrics, TEXT, media="text/plain"),
)


def document() -> dict[str, Any]:
    """The OpenAPI document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    info = {"title": "Paceline tuner", "version": _version(), "description": (__doc__ or "").strip()}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": components()}}


def _version() -> str:
    try:
        return version("paceline")
    except PackageNotFoundError:
        return "0"


def _operation(route: Route) -> dict[str, Any]:
    success = {"description": route.summary, "content": {route.media: {"schema": route.answer}}}
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": _parameters(route),
        "responses": {
            **{str(status): success for status in sorted({200, route.status})},
            **{str(status): _failure(status) for status in sorted({*route.errors, 503})},
        },
    }
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": route.body}}}
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": TEXT} for name in names] + [
        {"name": name, "in": "query", "description": text, "schema": TEXT} for name, text in route.query.items()
    ]


MEANINGS = {
    400: "Malformed: correct the field that the message names.",
    404: "There is no such study or run.",
    409: "It contradicts what is stored; the message says what to do.",
    503: "Nothing was stored; send the same request again later.",
}


def _failure(status: int) -> dict[str, Any]:
    content = {"application/json": {"schema": reference("Error")}}
    return {"description": MEANINGS[status], "content": content}
