"""The client: who answers, who does not, and who is no tuner at all."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from paceline_exporters.messages import Outcome
from paceline_tuner.client import TunerAway, TunerClient, TunerRefused, patiently
from paceline_tuner.study.codec import spec_to_json


@pytest.fixture
def says() -> Iterator[Callable[[bytes], TunerClient]]:
    """A server that says the same bytes to everybody, and a client of it."""
    servers: list[socket.socket] = []

    def start(answer: bytes) -> TunerClient:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        return TunerClient(f"http://127.0.0.1:{server.getsockname()[1]}", timeout_seconds=10.0)

    yield start
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def http(status: str, body: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode() + body


def test_a_run_from_study_to_end(tuner: Any, job: Any) -> None:
    client, spec = TunerClient(tuner.url), job.study()
    assert client.ready()
    assert client.create_study(spec_to_json(spec))["name"] == spec.name
    assert client.create_study(spec_to_json(spec))["state"] == "search"
    proposal = client.ask(spec.name, "me", "first", "/somewhere")["proposal"]
    assert client.ask(spec.name, "me", "first", "/somewhere")["proposal"] == proposal
    assert proposal["harness"]["output_dir"] == f"/somewhere/{proposal['run_id']}"
    assert client.heartbeat(proposal["run_id"]).action == "continue"
    assert [item["proposal"] for item in client.open_runs(spec.name, "me")] == [proposal]
    assert client.open_runs(spec.name, "somebody else") == []
    told = client.end(proposal["run_id"], Outcome("failed", "crash", "it did not work"))
    assert (told["outcome"], told["reason"]) == ("failed", "it did not work")
    assert client.end(proposal["run_id"], Outcome("finished", "done")) == told, "said twice, it counts once"
    assert "trials" not in client.study_brief(spec.name)
    assert len(client.study(spec.name)["trials"]) == 1
    assert client.normal_proposal(spec.name)["proposal"]["kind"] == "normal"


@pytest.mark.parametrize(
    ("call", "status", "code", "words"),
    [
        (lambda client: client.study("no/such"), 404, "not_found", "no study 'no/such'"),
        (lambda client: client.heartbeat("nobody"), 404, "not_found", "no run 'nobody'"),
        (lambda client: client.create_study({}), 400, "bad_request", "name: is missing"),
        (lambda client: client.post_report({"rings": 1}), 400, "bad_request", "field 'reporter'"),
    ],
)
def test_a_refusal_says_why(tuner: Any, call: Any, status: int, code: str, words: str) -> None:
    with pytest.raises(TunerRefused, match=words) as refused:
        call(TunerClient(tuner.url))
    assert (refused.value.status, refused.value.code) == (status, code)


def test_a_best_that_is_not_known_yet_is_refused(tuner: Any, job: Any) -> None:
    client, spec = TunerClient(tuner.url), job.study()
    client.create_study(spec_to_json(spec))
    with pytest.raises(TunerRefused, match=r"no trial of .* has finished yet") as refused:
        client.best(spec.name)
    assert refused.value.status == 409


def test_nobody_there() -> None:
    client = TunerClient("http://127.0.0.1:9")
    assert not client.ready()
    with pytest.raises(TunerAway, match=r"no answer from the tuner at http://127\.0\.0\.1:9 \(.*refused\)"):
        client.study("s")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        http("200 OK", b'{"state"', length=100),
        http("500 Internal Server Error", b"", length=100),
        http("502 Bad Gateway", b"<html>"),
        http("503 Service Unavailable", b'{"error": {"code": "try_again", "message": "the disk is full"}}'),
    ],
)
def test_a_tuner_that_dies_while_it_answers_is_away(says: Any, answer: bytes) -> None:
    with pytest.raises(TunerAway):
        says(answer).study("s")


@pytest.mark.parametrize(
    "answer",
    [
        http("404 Not Found", b"<html>nothing here</html>"),
        http("405 Method Not Allowed", b'"no"'),
        http("200 OK", b"<html>welcome</html>"),
        http("200 OK", b"[1]"),
        http("200 OK", b"null"),
    ],
)
def test_what_is_no_tuner_is_called_so(says: Any, answer: bytes) -> None:
    client = says(answer)
    with pytest.raises(TunerRefused, match="is no tuner") as refused:
        client.create_study({})
    assert refused.value.code == "no_tuner"
    assert client.url in str(refused.value)


def test_a_proxy_for_the_world_outside_is_not_in_the_way(tuner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert TunerClient(tuner.url).ready()


def test_patience_ends() -> None:
    said: list[TunerAway] = []

    def call() -> int:
        if len(said) < 2:
            raise TunerAway("not now")
        return 7

    assert patiently(call, 60.0, said.append, pause=0.0) == 7
    assert len(said) == 2
    said.clear()
    with pytest.raises(TunerAway, match="not now"):
        patiently(call, -1.0, said.append)
    assert said == []
