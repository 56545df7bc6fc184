"""Errors of the service, named by what the caller should do about them."""

from __future__ import annotations


class StartError(RuntimeError):
    """The service cannot start; the text is the one line to show."""


class ServiceError(Exception):
    """An answer other than success: raised by what handles a request, sent as {"error": {code, message}}."""

    status = 500
    """HTTP status."""
    code = "internal"
    """Machine-readable."""


class CorrectRequest(ServiceError):
    """The request is malformed: correct the field that the text names. Status 400."""

    status, code = 400, "bad_request"


class NotFound(ServiceError):
    """There is no such study or run: check the name. Status 404."""

    status, code = 404, "not_found"


class Conflict(ServiceError):
    """The request contradicts what is stored: the text says what to do instead. Status 409."""

    status, code = 409, "conflict"


class TryAgain(ServiceError):
    """Nothing was stored or acknowledged; send the same request again later. Status 503."""

    status, code = 503, "try_again"
