"""The service as an aiohttp application: routes, limits, and one form for all errors."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from paceline_exporters.messages import MessageError
from paceline_tuner.sampling.client import SamplerError
from paceline_tuner.study.errors import StudyError

from .errors import ServiceError
from .routes import ROUTES, Handler
from .service import Service

logger = logging.getLogger(__name__)

Next = Callable[[web.Request], Awaitable[web.StreamResponse]]
HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}


def build_app(service: Service) -> web.Application:
    """All routes of the table, bound to `service`."""
    app = web.Application(middlewares=[_errors], client_max_size=service.settings.body_bytes)
    for route in ROUTES:
        app.router.add_route(route.method, route.path, _bind(service, route.handler), name=route.name)
    return app


def _bind(service: Service, handler: Handler) -> Next:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await handler(service, request)

    return handle


@web.middleware
async def _errors(request: web.Request, handler: Next) -> web.StreamResponse:
    try:
        return await handler(request)
    except ServiceError as error:
        return _answer(error.status, error.code, str(error))
    except (MessageError, StudyError) as error:
        return _answer(400, "bad_request", str(error))
    except (OverflowError, UnicodeError) as error:  # numbers and text that are valid JSON but fit no database
        return _answer(400, "bad_request", f"a value of the body cannot be stored: {error}")
    except SamplerError as error:
        return _answer(503, "try_again", f"the sampler failed: {error}")
    except web.HTTPException as error:
        return _answer(error.status, HTTP_CODES.get(error.status, "http"), error.text or error.reason)
    except Exception:  # the last boundary: the caller gets our error form, the log gets the rest
        logger.exception("%s %s", request.method, request.path)
        return _answer(500, "internal", "an error inside the tuner; its log has the details")


def _answer(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status)
