"""Asking an agent or a tuner, as `explain` and `top` do: one connection, no proxy, no redirect, a deadline."""

from __future__ import annotations

import base64
import http.client
import json
import netrc
import re
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

SECONDS = 5.0
MOST_BYTES = 32 * 2**20
DEFAULT_PORT = 19470
UNKNOWN_PAGE = "404: Not Found"
"""What agents and tuners say of a path that they do not serve."""
NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
"""OpenSSL's words for an answer that is none of TLS; the second since 3.2."""


class PeerError(Exception):
    """No answer that can be used; the text says why and what to do."""


class NotThere(PeerError):
    """It answers 404: there is no such run."""


@dataclass(frozen=True)
class Address:
    """Where an agent or a tuner listens."""

    scheme: str
    host: str
    port: int
    path: str = ""
    """Below which its pages are, where a proxy has it elsewhere than at the root."""
    user: str | None = None
    password: str | None = None

    def url(self, scheme: str = "") -> str:
        """To show and to ask, without user and password; with another scheme, what else may be tried."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme or self.scheme}://{host}:{self.port}{self.path}"


def address(text: str, port: int = DEFAULT_PORT) -> Address:
    """Of a URL, or of `host` or `host:port` for plain HTTP; `port` where it names none. Raises PeerError."""
    try:
        return _split(text if "://" in text else f"http://{text}", port)
    except ValueError:
        raise PeerError(f"expected an address such as http://node-1:{port}, got {text!r}") from None


def _split(url: str, port: int) -> Address:
    """Raises ValueError."""
    parts = urlsplit(url)
    odd = parts.query or parts.fragment or re.search(r"[\s\0-\x1f]", url)
    if parts.scheme not in ("http", "https") or not parts.hostname or odd:
        raise ValueError(url)
    parts.hostname.encode("idna")
    parts.path.encode("ascii")
    path = parts.path.rstrip("/")
    return Address(parts.scheme, parts.hostname, parts.port or port, path, parts.username, parts.password)


class Peer:
    """One address; the connection is kept from request to request. Not thread-safe."""

    def __init__(
        self, where: str, port: int = DEFAULT_PORT, seconds: float = SECONDS, kind: str = "agent"
    ) -> None:
        """`where`, `port`: see `address`. A password stands in the URL or in ~/.netrc. `kind`: what it should be.
        Raises PeerError."""
        self._address = address(where, port)
        self._authorization = _authorization(self._address)
        self._seconds, self._kind = seconds, kind
        self._connection: http.client.HTTPConnection | None = None
        self.url = self._address.url()
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
            raise PeerError(f"{self.url}: {self._trouble(error)}") from error
        if answer.status != 200 or len(body) == MOST_BYTES:
            self.close()
        if answer.status != 200:
            raise self._refusal(path, answer.status, body)
        return body

    def close(self) -> None:
        """Close the connection; the next request opens one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, path: str, retry: bool = False) -> http.client.HTTPResponse | None:
        self._connection = self._connection or self._connect()
        try:
            headers = {"Accept": "*/*", **self._authorization}
            self._connection.request("GET", self._address.path + path, headers=headers)
            return self._connection.getresponse()
        except (ConnectionError, http.client.HTTPException):
            self.close()
            if not retry:
                raise
            return None

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._address.host, self._address.port
        if self._address.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=self._seconds)
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=self._seconds, context=context)

    def _trouble(self, error: Exception) -> str:
        plain = self._address.scheme == "http"
        if isinstance(error, ssl.SSLError) and error.reason in NO_TLS:
            return f"it does not speak TLS; try {self._address.url('http')}"
        if plain and isinstance(error, (ConnectionResetError, http.client.BadStatusLine)):
            closed = isinstance(error, ConnectionResetError)
            what = "it closed the connection without an answer" if closed else "it does not answer in HTTP"
            return f"{what}; if it speaks TLS, try {self._address.url('https')}"
        return _plain(error)

    def _refusal(self, path: str, status: int, body: bytes) -> PeerError:
        text = _message(body)
        if status == 401 and self._authorization:
            return PeerError(f"{self.url} refuses the user and password of the address or ~/.netrc: correct them")
        if status == 401:
            return PeerError(f"{self.url} asks for a user and a password: put them into ~/.netrc or the address")
        if status == 404 and text == UNKNOWN_PAGE:
            return PeerError(f"{self.url} is no {self._kind}: it has no page {path.partition('?')[0]}")
        return (NotThere if status == 404 else PeerError)(f"{self.url} answers {status}: {text}")


def _message(body: bytes) -> str:
    """Of an error: the agent's are text, the tuner's JSON."""
    text = body[:2000].decode("utf-8", "replace").strip()
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return text.partition("\n")[0] or "nothing more"


def _authorization(where: Address) -> dict[str, str]:
    user, password = where.user, where.password
    if user is None:
        try:
            entry = netrc.netrc().authenticators(where.host)
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
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS: {error.reason.replace('_', ' ').lower()}"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text if text[:2].isupper() else text[0].lower() + text[1:]  # URL, DNS: abbreviations
