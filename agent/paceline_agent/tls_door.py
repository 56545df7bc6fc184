"""Where a connection enters: through a TLS handshake of limited time, with the certificate of now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

SHUTDOWN_SECONDS = 2.0
"""For the client's word that it closes, too."""


class TlsDoors:
    """The handshakes that are under way. asyncio's own server would keep one context for ever, and count none of
    them: a client that never ends its handshake would hold a connection that nobody sees."""

    def __init__(
        self,
        behind: Callable[[], asyncio.Protocol],
        context: Callable[[], ssl.SSLContext],
        handshake_seconds: float,
        came: Callable[[], None],
    ) -> None:
        """`behind` makes the protocol that speaks once the handshake is done; `context` gives the one of now;
        `came` is told of each handshake that begins."""
        self.opening: dict[TlsDoor, asyncio.Task[None]] = {}
        """In the order they came."""
        self._behind = behind
        self._context = context
        self._handshake_seconds = handshake_seconds
        self._came = came

    def __call__(self) -> asyncio.Protocol:
        """A protocol for one connection."""
        return TlsDoor(self)

    def open(self, door: TlsDoor, transport: asyncio.Transport) -> None:
        """Begin a handshake."""
        transport.pause_reading()  # what the client says first is for TLS
        task = asyncio.create_task(self._open(door, transport), name="tls-handshake")
        self.opening[door] = task
        task.add_done_callback(lambda _: self.opening.pop(door, None))
        self._came()

    def end(self, door: TlsDoor) -> None:
        """End a handshake that is under way."""
        self.opening.pop(door).cancel()

    def close(self) -> None:
        """End all of them."""
        for door in list(self.opening):
            self.end(door)

    async def _open(self, door: TlsDoor, transport: asyncio.Transport) -> None:
        try:
            secure = await asyncio.get_running_loop().start_tls(
                *(transport, door, self._context()),
                server_side=True,
                ssl_handshake_timeout=self._handshake_seconds,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS,
            )
        except (OSError, asyncio.CancelledError):  # no TLS, no certificate that we know, too slow, one too many
            transport.abort()
        else:
            self.opening.pop(door, None)  # now it is a connection, and counts as one
            door.pass_on(secure, self._behind())


class TlsDoor(asyncio.Protocol):
    """One connection, until its handshake is done; what comes with its last word is kept for who is behind."""

    has_spoken = False
    """No request comes before the handshake is done."""

    def __init__(self, doors: TlsDoors) -> None:
        self.since = time.monotonic()
        """When it was opened."""
        self._doors = doors
        self._early: list[bytes] = []
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of the bare connection."""
        assert isinstance(transport, asyncio.Transport)
        self._doors.open(self, transport)

    def data_received(self, data: bytes) -> None:
        """Within TLS, before `pass_on`."""
        self._early.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Before `pass_on`."""
        self._lost = True

    def close(self) -> None:
        """At once, while the handshake is under way."""
        self._doors.end(self)

    def pass_on(self, secure: asyncio.Transport | None, behind: asyncio.Protocol) -> None:
        """The handshake is done; there is no transport where the connection closed with it."""
        if self._lost or secure is None:
            return
        secure.set_protocol(behind)
        behind.connection_made(secure)
        for data in self._early:
            behind.data_received(data)
