"""One unary gRPC call over a Unix socket: HTTP/2 by h2, the rest is a few headers and a length.

Protocol: github.com/grpc/grpc, doc/PROTOCOL-HTTP2.md. Added to the agent's resident memory: 1.3 MiB with h2
alone, 4.1 with grpclib and protobuf, 10.8 with grpcio and protobuf. And an answer that is too large is refused by
its announced length, before it is here. Each call makes its own connection: a restarted kubelet is no case.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import H2Error

from .errors import AskError

MOST_BYTES = 4 * 2**20
"""Of an answer; gRPC's own default. A node's pods and devices take some 100 kB."""

_FRAME = struct.Struct(">?I")  # compressed, length
# First match wins.
_REASONS: Sequence[tuple[type[OSError], str]] = (
    (FileNotFoundError, "missing"),
    (PermissionError, "permission"),
    (ConnectionRefusedError, "refused"),
    (TimeoutError, "deadline"),
    (OSError, "io"),
)


def call(path: Path, method: str, deadline_seconds: float) -> bytes:
    """The answer to an empty request; `method` as `/package.Service/Method`. Raises AskError."""
    deadline = time.monotonic() + deadline_seconds
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            _arm(connection, deadline)
            connection.connect(str(path))
            return _converse(connection, method, deadline)
    except OSError as error:
        reason = next(reason for kind, reason in _REASONS if isinstance(error, kind))
        raise AskError(reason, f"{path}: {error}") from error
    except H2Error as error:
        raise AskError("protocol", f"{path}: {error or type(error).__name__}") from error


def _converse(connection: socket.socket, method: str, deadline: float) -> bytes:
    http = H2Connection(H2Configuration(header_encoding="utf-8"))
    http.initiate_connection()
    stream = http.get_next_available_stream_id()
    http.send_headers(stream, _headers(method))
    http.send_data(stream, _FRAME.pack(False, 0), end_stream=True)
    answer = _Answer(http)
    while not answer.complete:
        connection.sendall(http.data_to_send())
        _arm(connection, deadline)
        data = connection.recv(2**16)
        if not data:
            raise AskError("io", "the kubelet closed the connection")
        answer.take(http.receive_data(data))
    return answer.message()


def _arm(connection: socket.socket, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    connection.settimeout(left)


def _headers(method: str) -> list[tuple[str, str]]:
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", method),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "paceline"),
    ]


class _Answer:
    """What came so far."""

    def __init__(self, http: H2Connection) -> None:
        self.complete = False
        self._http = http
        self._headers: dict[str, str] = {}
        self._body = bytearray()

    def take(self, events: Iterable[Event]) -> None:
        """Raises AskError."""
        for event in events:
            if isinstance(event, ResponseReceived | TrailersReceived):
                self._headers.update({str(name): str(value) for name, value in event.headers or ()})
            elif isinstance(event, DataReceived):
                self._grow(event)
            elif isinstance(event, StreamEnded):
                self.complete = True
            elif isinstance(event, StreamReset | ConnectionTerminated):
                raise AskError("protocol", f"the kubelet ended the call: HTTP/2 error {event.error_code}")

    def message(self) -> bytes:
        """Raises AskError where the call failed."""
        status = self._headers.get("grpc-status")
        if self._headers.get(":status") != "200" or status is None:
            raise AskError("protocol", f"no gRPC answer, HTTP status {self._headers.get(':status')}")
        if status != "0":
            text = unquote(self._headers.get("grpc-message", ""))
            raise AskError("status", f"the kubelet answered gRPC status {status}: {text[:200]}")
        if len(self._body) < _FRAME.size or len(self._body) != _FRAME.size + self._announced():
            raise AskError("protocol", "the answer is not one whole message")
        return bytes(memoryview(self._body)[_FRAME.size :])

    def _grow(self, event: DataReceived) -> None:
        self._body += event.data or b""
        self._http.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
        # Some servers announce less than they send.
        if len(self._body) >= _FRAME.size and max(self._announced(), len(self._body)) > MOST_BYTES:
            raise AskError("too_large", f"an answer of {self._announced()} bytes, {MOST_BYTES} are read")

    def _announced(self) -> int:
        compressed, length = _FRAME.unpack_from(self._body)
        if compressed:
            raise AskError("protocol", "a compressed message, though none was asked for")
        return int(length)
