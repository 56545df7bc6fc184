"""Asking an agent or a tuner, as `explain` and `top` do: one connection, no proxy, no redirect, a deadline."""

from __future__ import annotations

import base64
import http.client
import json
import netrc
import ssl
from typing import Any
from urllib.parse import unquote, urlsplit

SECONDS = 5.0
MOST_BYTES = 32 * 2**20
DEFAULT_PORT = 19470


class PeerError(Exception):
    """No answer that can be used; the text says why and what to do."""


class NotThere(PeerError):
    """It answers 404: there is no such run."""


class Peer:
    """One address; the connection is kept from request to request. Not thread-safe."""

    def __init__(self, address: str, port: int = DEFAULT_PORT, seconds: float = SECONDS) -> None:
        """`address`: a URL, or `host` or `host:port` for plain HTTP; `port` where it names none. A password
        stands in the URL or in ~/.netrc. Raises PeerError."""
        try:
            parts = urlsplit(address if "://" in address else f"http://{address}")
            self._port = parts.port or port
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise PeerError(f"expected an address such as http://node-1:{port}, got {address!r}")
        self._encrypted, self._host = parts.scheme == "https", parts.hostname
        self._headers = {"Accept": "*/*", **_authorization(parts.hostname, parts.username, parts.password)}
        self._seconds = seconds
        self._connection: http.client.HTTPConnection | None = None
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.url = f"{parts.scheme}://{host}:{self._port}"
        """Without user and password, to show."""

    def json(self, path: str) -> dict[str, Any]:
        """The JSON object at `path`. Raises PeerError."""
        try:
            found = json.loads(self.get(path))
        except (ValueError, RecursionError) as error:
            raise PeerError(f"{self.url} answers something that is no JSON") from error
        if not isinstance(found, dict):
            raise PeerError(f"{self.url} answers JSON of another shape")
        return found

    def get(self, path: str) -> bytes:
        """What is at `path`. Raises PeerError."""
        try:
            # The server may have closed a connection that was kept: that is no fault, a second failure is.
            answer = (self._connection and self._ask(path, retry=True)) or self._ask(path)
            assert answer is not None
            body = answer.read(MOST_BYTES)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise PeerError(f"{self.url}: {_plain(error)}") from error
        if answer.status != 200 or len(body) == MOST_BYTES:
            self.close()
        if answer.status != 200:
            raise self._refusal(answer.status, body)
        return body

    def close(self) -> None:
        """Close the connection; the next request opens one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, path: str, retry: bool = False) -> http.client.HTTPResponse | None:
        self._connection = self._connection or self._connect()
        try:
            self._connection.request("GET", path, headers=self._headers)
            return self._connection.getresponse()
        except (ConnectionError, http.client.HTTPException):
            self.close()
            if not retry:
                raise
            return None

    def _connect(self) -> http.client.HTTPConnection:
        if not self._encrypted:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._seconds)
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._seconds, context=context)

    def _refusal(self, status: int, body: bytes) -> PeerError:
        if status == 401:
            return PeerError(f"{self.url} asks for a user and a password: put them into ~/.netrc or the address")
        text = _message(body)
        return (NotThere if status == 404 else PeerError)(f"{self.url} answers {status}: {text}")


def _message(body: bytes) -> str:
    """Of an error: the agent's are text, the tuner's JSON."""
    text = body[:2000].decode("utf-8", "replace").strip()
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return text.partition("\n")[0] or "nothing more"


def _authorization(host: str, user: str | None, password: str | None) -> dict[str, str]:
    if user is None:
        try:
            entry = netrc.netrc().authenticators(host)
        except (OSError, netrc.NetrcParseError):  # none, or not ours to judge
            entry = None
        if entry is None:
            return {}
        user, password = entry[0], entry[2]
    pair = f"{unquote(user)}:{unquote(password or '')}"
    return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def _plain(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{error.verify_message}: set SSL_CERT_FILE to the file with its authority's certificate"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text[0].lower() + text[1:]
