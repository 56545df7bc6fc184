"""One GET for JSON, as the agent speaks HTTP: no proxy, no redirect, a deadline."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any
from urllib.parse import urlsplit

SECONDS = 2.0
MOST_BYTES = 4 * 2**20


class Unreachable(Exception):
    """No JSON object came; the text says what came instead."""

    def __init__(self, text: str, realm: str = "") -> None:
        super().__init__(text)
        self.realm = realm
        """How a server that wants a password calls itself."""


def get_json(url: str, *, trusting: bool = False) -> dict[str, Any]:
    """The JSON object at `url`; `trusting` takes any certificate. Raises Unreachable."""
    connection = _connection(url, trusting)
    try:
        connection.request("GET", urlsplit(url).path, headers={"Accept": "application/json"})
        answer = connection.getresponse()
        if answer.status != 200:
            realm = answer.getheader("WWW-Authenticate", "")
            raise Unreachable(f"it answers {answer.status} {answer.reason}", realm)
        document = json.loads(answer.read(MOST_BYTES))
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(_plain(error)) from error
    except (ValueError, RecursionError) as error:
        raise Unreachable("it answers something that is no JSON") from error
    finally:
        connection.close()
    if not isinstance(document, dict):
        raise Unreachable("it answers JSON of another shape")
    return document


def _connection(url: str, trusting: bool) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    if parts.scheme != "https":
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=SECONDS)
    context = ssl.create_default_context()
    if trusting:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=SECONDS, context=context)


def _plain(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text[0].lower() + text[1:]
