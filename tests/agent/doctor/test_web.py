from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from certificates import OPENSSL, Authority

from paceline_agent.doctor import fetch
from paceline_agent.doctor.visit import Visit
from paceline_agent.doctor.web import examine


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An address where somebody listens and says nothing."""
    monkeypatch.setattr(fetch, "SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("address", "whom"), [("127.0.0.1:0", "this machine"), (":0", "whoever"), ("[::1]:0", "this machine")]
)
def test_a_free_address(visit: Callable[..., Visit], address: str, whom: str) -> None:
    [found] = examine(visit(listen_address=address))
    assert (found.status, whom in found.seen) == ("ok", True)


def test_an_address_that_somebody_else_has(visit: Callable[..., Visit], taken: str) -> None:
    [found] = examine(visit(listen_address=taken))
    assert (found.status, found.seen, found.why) == ("broken", f"{taken} is taken", "no answer in time")
    assert f"sport = :{taken.partition(':')[2]}" in found.fix


async def test_an_address_that_answers_something_else(visit: Callable[..., Visit], tuner: Any) -> None:
    [found] = await asyncio.to_thread(lambda: [*examine(visit(listen_address=f"127.0.0.1:{tuner.port}"))])
    assert (found.status, found.why) == ("broken", "it answers 404 Not Found")


def test_an_agent_that_runs_already(visit: Callable[..., Visit], start_agent: Callable[..., Any]) -> None:
    address = start_agent().url.removeprefix("http://")
    [found] = examine(visit(listen_address=address))
    assert (found.status, found.seen) == ("ok", f"an agent listens on {address}, node node-a")


def test_an_address_of_another_machine(visit: Callable[..., Visit]) -> None:
    [found] = examine(visit(listen_address="192.0.2.1:19470"))
    assert found.status == "broken"
    assert "cannot assign" in found.why


def test_an_agent_that_asks_for_a_password(
    visit: Callable[..., Visit], start_agent: Callable[..., Any], tmp_path: Path
) -> None:
    config = tmp_path / "web.yaml"
    config.write_text(f"basic_auth_users: {{anna: '{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}'}}\n")
    address = start_agent(f"--web.config.file={config}").url.removeprefix("http://")
    [found] = examine(visit(listen_address=address, web_config=config))
    assert (found.status, "asks for a password" in found.seen) == ("ok", True)
    [free] = examine(visit(web_config=config))
    assert free.seen == "127.0.0.1:0 is free; without TLS, for 1 user with a password"


def test_a_web_configuration_that_cannot_be_used(visit: Callable[..., Visit], tmp_path: Path) -> None:
    config = tmp_path / "web.yaml"
    config.write_text("basic_auth_users: {anna: plain}\n")
    [found] = examine(visit(web_config=config))
    assert (found.status, found.fix) == ("broken", "correct --web.config.file")
    assert str(config) in found.why


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """A web configuration with a certificate of its own, beside it."""
    if OPENSSL is None:
        pytest.skip("openssl is not installed")
    Authority(tmp_path).issue("server")
    config = tmp_path / "web.yml"
    config.write_text("tls_server_config: {cert_file: server.pem, key_file: server.key}\n")
    return config


def test_tls_that_serves(visit: Callable[..., Visit], server: Path) -> None:
    [found] = examine(visit(web_config=server))
    assert (found.status, "with TLS" in found.seen) == ("ok", True)


def test_a_key_of_another_certificate_is_what_the_agent_would_not_start_with(
    visit: Callable[..., Visit], server: Path
) -> None:
    Authority(server.parent, "other").issue("stranger")
    (server.parent / "stranger.key").replace(server.parent / "server.key")
    [found] = examine(visit(web_config=server))
    assert (found.status, found.seen) == ("broken", "the agent does not start")
    assert "mismatch" in found.why


@pytest.mark.parametrize("asked", ["", ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem"])
@pytest.mark.parametrize(
    ("years", "why"), [((2020, 2021), "it has expired"), ((2120, 2121), "it is not valid yet")]
)
def test_a_certificate_out_of_date_is_told(
    visit: Callable[..., Visit], server: Path, years: tuple[int, int], why: str, asked: str
) -> None:
    first, last = (f"{year}0101000000Z" for year in years)
    Authority(server.parent).issue_between("server", first, last)
    server.write_text(f"tls_server_config: {{cert_file: server.pem, key_file: server.key{asked}}}\n")
    refused, free = examine(visit(web_config=server))
    assert (refused.status, refused.why, free.status) == ("broken", why, "ok")
