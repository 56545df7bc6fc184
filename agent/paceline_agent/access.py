"""Who may ask, and how often: a web configuration file, held up to date and put to each request."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from .config_values import WebConfigError
from .passwords import Passwords, TooBusy
from .web_config import RateLimit, WebConfig, read_web_config

if TYPE_CHECKING:
    import ssl

log = logging.getLogger(__name__)

OPEN = ("/healthz",)
"""Answered without a password and without limit. A kubelet's probe holds no secret: if a changed password failed
it, every agent of the cluster would be restarted. The page says nothing but that the process answers. All other
pages are protected, as by Prometheus' exporters; /readyz, too, as it names what is read here."""
REFRESH_SECONDS = 1.0
UNAUTHORIZED = {"WWW-Authenticate": 'Basic realm="paceline agent", charset="UTF-8"'}


class Access:
    """One web configuration file, or none: then anyone may ask."""

    def __init__(self, path: Path | None) -> None:
        """Raises WebConfigError."""
        self.reload_success = True
        """Whether the file that is there now is the one in use."""
        self._path = path
        self._passwords = Passwords()
        try:
            self._config, self._context = _read(path)
        except WebConfigError as error:
            raise WebConfigError(f"--web.config.file: {error}") from error
        self._seen = self._state()
        self._bucket = Bucket()

    @property
    def watches(self) -> bool:
        """Whether there is a file."""
        return self._path is not None

    @property
    def encrypted(self) -> bool:
        """Whether this is a server of TLS; never changes."""
        return self._context is not None

    @property
    def authenticated(self) -> bool:
        """Whether a client has to show who it is."""
        tls = self._config.tls
        return bool(self._config.users) or (tls is not None and tls.asks_client)

    def context(self) -> ssl.SSLContext:
        """For the next handshake."""
        assert self._context is not None
        return self._context

    async def follow(self) -> None:
        """Refresh for ever."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            await asyncio.to_thread(self.refresh)

    def refresh(self) -> None:
        """Take what changed in the files. What cannot be used is said once, and what was used stays in use."""
        state = self._state()  # before they are read: a change in the meantime is seen next time
        if state == self._seen:
            return
        self._seen = state
        try:
            config, context = _read(self._path)
            self._check_change(config)
        except WebConfigError as error:
            self.reload_success = False
            log.error("--web.config.file: %s; the configuration before it stays in use", error)
            return
        self._config, self._context = config, context
        self.reload_success = True
        log.info("--web.config.file: %s was read anew", self._path)

    async def refusal(self, request: web.Request) -> web.Response | None:
        """The answer to a request that may not be served; None for one that may."""
        config = self._config
        if config.tls is not None and config.tls.client_allowed_sans:
            from .tls import has_allowed_san

            transport = request.transport
            certificate = None if transport is None else transport.get_extra_info("peercert")
            if not has_allowed_san(certificate, config.tls.client_allowed_sans):
                return _refuse(403, "the certificate has none of the names in client_allowed_sans\n")
        if request.path in OPEN:
            return None
        if config.rate is not None and not self._bucket.take(config.rate):
            return _refuse(429, "too many requests\n", {"Retry-After": "1"})
        try:
            admitted = not config.users or await self._passwords.admit(
                request.headers.get("Authorization", ""), config.users
            )
        except TooBusy:
            return _refuse(429, "too many passwords to check\n", {"Retry-After": "1"})
        return None if admitted else _refuse(401, "unauthorized\n", UNAUTHORIZED)

    async def add_headers(self, _request: web.Request, response: web.StreamResponse) -> None:
        """To every answer."""
        response.headers.update(self._config.headers)

    def _check_change(self, config: WebConfig) -> None:
        """A file that is read while it is written is a part of itself: it must not open the door."""
        old, new = self._config.tls, config.tls
        if (new is None) != (old is None):
            raise WebConfigError("tls_server_config came or went, which takes a restart")
        if self._config.users and not config.users:
            raise WebConfigError("basic_auth_users went, which takes a restart")
        if old is not None and new is not None:
            if new.client_auth < old.client_auth:
                raise WebConfigError("client_auth_type asks for less than before, which takes a restart")
            if old.client_allowed_sans and not new.client_allowed_sans:
                raise WebConfigError("client_allowed_sans went, which takes a restart")

    def _state(self) -> list[tuple[int, ...]]:
        """Of each file: what a change of it changes."""
        if self._path is None:
            return []
        tls = self._config.tls
        return [_fingerprint(path) for path in (self._path, *(tls.files if tls else ()))]


@dataclass
class Bucket:
    """Tokens of a rate limit; the limit itself may change."""

    clock: Callable[[], float] = time.monotonic
    _tokens: float = field(default=0.0, init=False)
    _at: float | None = field(default=None, init=False)

    def take(self, rate: RateLimit) -> bool:
        """Whether one more request fits."""
        now = self.clock()
        gained = rate.burst if self._at is None else (now - self._at) / rate.interval_seconds
        self._tokens, self._at = min(float(rate.burst), self._tokens + gained), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def _read(path: Path | None) -> tuple[WebConfig, ssl.SSLContext | None]:
    if path is None:
        return WebConfig(), None
    # Not before: an agent without such a file does without OpenSSL (see `without_openssl`).
    from .tls import make_context

    config = read_web_config(path)
    return config, make_context(config.tls) if config.tls is not None else None


def _fingerprint(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return ()
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _refuse(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    response = web.Response(status=status, text=text, headers=headers)
    response.force_close()  # who is refused keeps no connection
    return response
