"""The server's connections: how many may be open, how long each may wait, which goes when there are too many."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .settings import Limits
from .tls_door import TlsDoor, TlsDoors


class Connections:
    """All that are open. aiohttp's own server counts none, and lets one that has spoken once stay for an hour."""

    def __init__(self, speaker: Callable[[], asyncio.Protocol], limits: Limits) -> None:
        """`speaker` makes the protocol that speaks HTTP on one connection."""
        self.doors: TlsDoors | None = None
        """Handshakes under way, which count as well."""
        self._speaker = speaker
        self._limits = limits
        self._open: dict[asyncio.BaseProtocol, Connection] = {}
        """By who speaks on it."""

    def __call__(self) -> asyncio.Protocol:
        """A protocol for one connection."""
        return Connection(self, self._speaker())

    def add(self, connection: Connection) -> None:
        """It has been made."""
        self._open[connection.speaker] = connection
        self.make_room()

    def remove(self, connection: Connection) -> None:
        """It was lost, or is as good as lost."""
        self._open.pop(connection.speaker, None)

    @contextmanager
    def answering(self, speaker: asyncio.BaseProtocol) -> Iterator[None]:
        """While a request on this connection is answered, nobody's waiting is told against it."""
        connection = self._open.get(speaker)
        if connection is None:  # closed in between
            yield
            return
        connection.begin()
        try:
            yield
        finally:
            connection.end()

    def make_room(self) -> None:
        """Close what is beyond the limit, now: a descriptor that is held is not there for the sources. Who was
        answered and is idle goes first, the longest idle before all; then who has never spoken. One that is being
        answered stays: where there are no others, the one that just came goes."""
        handshakes: list[TlsDoor] = [] if self.doors is None else list(self.doors.opening)
        excess = len(self._open) + len(handshakes) - self._limits.connections
        if excess > 0:
            idle = [one for one in self._open.values() if not one.is_answering]
            waiting: list[Connection | TlsDoor] = [*idle, *handshakes]
            waiting.sort(key=lambda one: (not one.has_spoken, one.since))
            for one in waiting[:excess]:
                one.close()

    def close_overdue(self) -> None:
        """Close those that have waited too long; called about once a second."""
        now = time.monotonic()
        for connection in list(self._open.values()):
            if connection.is_overdue(now, self._limits):
                connection.close()


class Connection(asyncio.Protocol):
    """Passes on between a transport and who speaks HTTP on it, and notes since when it waits for what."""

    def __init__(self, connections: Connections, speaker: asyncio.Protocol) -> None:
        self.speaker = speaker
        self.has_spoken = False
        """Has sent a whole request."""
        self.is_answering = False
        self.since = time.monotonic()
        """When it was opened, or its latest answer was done."""
        self._connections = connections
        self._head_since: float | None = None
        """When the first byte of the next request came, whose head is not complete."""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.speaker.connection_made(transport)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Of a request's head, as bodies are refused."""
        if self._head_since is None:
            self._head_since = time.monotonic()
        self.speaker.data_received(data)

    def eof_received(self) -> bool | None:
        """The client sends no more."""
        return self.speaker.eof_received()

    def pause_writing(self) -> None:
        """The client does not take what is sent."""
        self.speaker.pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        self.speaker.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        self._connections.remove(self)
        self.speaker.connection_lost(exc)

    def begin(self) -> None:
        """A request is complete, and is answered from now on."""
        self.has_spoken = self.is_answering = True
        self._head_since = None

    def end(self) -> None:
        """It is answered."""
        self.is_answering = False
        self.since = time.monotonic()

    def is_overdue(self, now: float, limits: Limits) -> bool:
        """Whether what it waits for has taken too long at this monotonic time."""
        if self.is_answering:
            return False
        head_since = self._head_since if self.has_spoken else self.since
        if head_since is not None and now - head_since > limits.silent_seconds:
            return True
        return now - self.since > limits.keepalive_seconds

    def close(self) -> None:
        """At once; what was not sent yet is lost."""
        self._connections.remove(self)
        if self._transport is not None:
            self._transport.abort()
