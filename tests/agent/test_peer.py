"""Asking over real sockets, and what is said of all that can go wrong."""

from __future__ import annotations

import base64
import contextlib
import http.server
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import OPENSSL, Authority

from paceline_agent.peer import MOST_BYTES, NotThere, Peer, PeerError


class Server(http.server.ThreadingHTTPServer):
    """Answers each path as `answers` says: status and body."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.connections: set[Any] = set()
        self.seen: list[dict[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def hang_up(self) -> None:
        """Close every connection, as a server that was restarted."""
        for one in list(self.connections):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def do_GET(self) -> None:
        status, body = self.server.answers[self.path]
        self.server.seen.append(dict(self.headers))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Not on standard error."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as one:
        thread = threading.Thread(target=one.serve_forever, args=(0.05,))
        thread.start()
        yield one
        one.shutdown()
        one.hang_up()
        thread.join()


def test_a_connection_is_kept_and_made_anew_when_it_was_closed(server: Server) -> None:
    server.answers["/a"] = 200, b'{"x": 1}'
    peer = Peer(server.url)
    assert peer.json("/a") == peer.json("/a") == {"x": 1}
    assert len(server.connections) == 1
    server.hang_up()
    assert peer.json("/a") == {"x": 1}
    assert len(server.connections) == 2
    peer.close()


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (404, b"no run 'x' has ranks here\n", NotThere, "answers 404: no run 'x' has ranks here"),
        (404, b'{"error": {"code": "not_found", "message": "no run"}}', NotThere, "answers 404: no run"),
        (503, b"", PeerError, "answers 503: nothing more"),
        (404, b"404: Not Found", PeerError, "is no agent: it has no page /a"),
        (404, b'{"error": {"code": "not_found", "message": "404: Not Found"}}', PeerError, "is no agent"),
        (401, b"unauthorized", PeerError, "asks for a user and a password"),
        (302, b"", PeerError, "answers 302"),
        (200, b"[1]", PeerError, "JSON of another shape"),
        (200, b"<html>", PeerError, "no JSON"),
        (200, b"[" * 100_000, PeerError, "no JSON"),
        (200, b" " * (MOST_BYTES + 1), PeerError, "no JSON"),
    ],
)
def test_what_is_said_of_other_answers(
    server: Server, status: int, body: bytes, kind: type[Exception], words: str
) -> None:
    server.answers["/a"] = status, body
    peer = Peer(server.url)
    with pytest.raises(kind, match=words) as told:
        peer.json("/a")
    assert server.url in str(told.value)
    server.answers["/a"] = 200, b"{}"
    assert peer.json("/a") == {}
    peer.close()


def test_who_is_not_there_and_who_does_not_answer() -> None:
    with pytest.raises(PeerError, match="connection refused"):
        Peer("127.0.0.1:1").get("/")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        peer = Peer(f"127.0.0.1:{silent.getsockname()[1]}", seconds=0.2)
        with pytest.raises(PeerError, match="no answer in time"):
            peer.get("/")


def test_a_password_from_the_address_or_from_netrc(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers["/a"] = 200, b"{}"
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login bob password b:c\n")
    (tmp_path / ".netrc").chmod(0o600)
    expected = []
    for home, address, pair in (
        (tmp_path, server.url, "bob:b:c"),
        (tmp_path, server.url.replace("//", "//ann:p%40ss@"), "ann:p@ss"),
        (tmp_path / "none", server.url, None),
    ):
        monkeypatch.setenv("HOME", str(home))
        peer = Peer(address)
        peer.json("/a")
        assert "@" not in peer.url
        peer.close()
        expected.append(pair and f"Basic {base64.b64encode(pair.encode()).decode()}")
    assert [headers.get("Authorization") for headers in server.seen] == expected


def test_a_password_that_is_wrong_is_refused_and_not_asked_for(server: Server) -> None:
    server.answers["/a"] = 401, b"unauthorized"
    with pytest.raises(PeerError, match="refuses the user and password"):
        Peer(server.url.replace("//", "//ann:wrong@")).get("/a")


def test_a_tuner_that_is_none(server: Server) -> None:
    server.answers["/v1/runs/x/explain?a=b"] = 404, b"404: Not Found"
    with pytest.raises(PeerError, match=r"is no tuner: it has no page /v1/runs/x/explain$"):
        Peer(server.url, kind="tuner").get("/v1/runs/x/explain?a=b")


def test_pages_below_a_path(server: Server) -> None:
    server.answers["/node-1/a"] = 200, b"{}"
    peer = Peer(f"{server.url}/node-1/")
    assert (peer.json("/a"), peer.url) == ({}, f"{server.url}/node-1")
    peer.close()


def test_tls_where_there_is_none(server: Server) -> None:
    with pytest.raises(PeerError, match=f"it does not speak TLS; try {server.url}$"):
        Peer(server.url.replace("http://", "https://")).get("/a")


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
def test_no_tls_where_there_is(server: Server, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*Authority(tmp_path).issue("server"))
    with socket.create_server(("127.0.0.1", 0)) as one:

        def answer() -> None:
            connection, _ = one.accept()
            with connection, contextlib.suppress(ssl.SSLError):
                context.wrap_socket(connection, server_side=True)

        thread = threading.Thread(target=answer)
        thread.start()
        address = f"127.0.0.1:{one.getsockname()[1]}"
        with pytest.raises(PeerError, match=f"if it speaks TLS, try https://{address}$"):
            Peer(address).get("/a")
        thread.join()


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
def test_a_certificate_of_an_unknown_authority(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("server"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.answers["/a"] = 200, b"{}"
    address = server.url.replace("http://", "https://")
    with pytest.raises(PeerError, match="set SSL_CERT_FILE"):
        Peer(address).json("/a")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    peer = Peer(address)
    assert peer.json("/a") == {}
    peer.close()


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("node-1", "http://node-1:19470"),
        ("node-1:80", "http://node-1:80"),
        ("https://node-1/", "https://node-1:19470"),
        ("http://[::1]:9", "http://[::1]:9"),
        ("http://ann:b@proxy/node-1/", "http://proxy:19470/node-1"),
    ],
)
def test_addresses(address: str, url: str) -> None:
    assert Peer(address).url == url


ODD = ("http://a b:80", "a\nb", "http://a..b", "node-1?x", "node-1#x", "node-1/ä")


@pytest.mark.parametrize("address", [*("ftp://node-1", "http://", "", "http://node-1:port", "http://[::1"), *ODD])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(PeerError, match="expected an address such as"):
        Peer(address)
