"""A real agent behind a web configuration file, asked by real clients."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
import ssl
import subprocess
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
import pytest
from certificates import OPENSSL, Authority

from paceline_agent.access import Access, Bucket
from paceline_agent.config_values import WebConfigError
from paceline_agent.service import Agent
from paceline_agent.settings import Settings
from paceline_agent.web import PAGES
from paceline_agent.web_config import RateLimit
from paceline_exporters.sources.contract import World

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
NODE_EXPORTER = shutil.which("prometheus-node-exporter")
TLS = "tls_server_config: {cert_file: server.pem, key_file: server.key}\n"
RELOADED = "paceline_agent_web_config_reload_success"


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), SALT).decode()


SALT = b"$2b$04$" + b"/" * 21 + b"u"
"""The same in every process: it is part of tests' names, and those that share them out compare names."""
USERS = f"basic_auth_users: {{prometheus: {hashed('right')}}}\n"
RIGHT, WRONG, NOBODY = ("prometheus", "right"), ("prometheus", "wrong"), ("nobody", "right")


def authorization(auth: tuple[str, str] | None) -> dict[str, str]:
    """The header for a user and password."""
    return {"Authorization": f"Basic {b64encode(':'.join(auth).encode()).decode()}"} if auth else {}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


class Server:
    """An agent without sources in this event loop, its configuration file, and a client."""

    def __init__(self, directory: Path, authority: Authority, session: aiohttp.ClientSession) -> None:
        self.file = directory / "web.yml"
        self.url = ""
        self._directory = directory
        self._authority = authority
        self._session = session
        self._agent: Agent | None = None
        self.certify("server")

    def certify(self, name: str) -> None:
        """A certificate for `server.pem`, issued to this name."""
        for path, kind in zip(self._authority.issue(name), ("pem", "key"), strict=True):
            shutil.copy(path, self._directory / f"server.{kind}")
        shutil.copy(self._authority.certificate, self._directory / "ca.pem")

    def write(self, text: str) -> None:
        fresh = self.file.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.file)

    async def start(self, text: str, **settings: Any) -> None:
        self.write(text)
        world = World(rings=self._directory / "rings", node="node-a")
        chosen = {"listen_address": "127.0.0.1:0", "web_config_file": self.file, **settings}
        self._agent = Agent(Settings(world=world, **chosen), [])
        self.url = await self._agent.startup()

    async def stop(self) -> None:
        if self._agent is not None:
            await self._agent.shutdown()

    async def get(self, path: str = "/metrics", **options: Any) -> tuple[int, str]:
        """Over a connection of its own, unless the session is the test's."""
        options.setdefault("ssl", self._authority.client())
        options["headers"] = authorization(options.pop("auth", None))
        async with self._session.get(self.url + path, **options) as answer:
            return answer.status, await answer.text()

    async def status(self, path: str = "/metrics", **options: Any) -> int:
        return (await self.get(path, **options))[0]


@pytest.fixture
async def server(tmp_path: Path, authority: Authority) -> AsyncIterator[Server]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        one = Server(tmp_path, authority, session)
        yield one
        await one.stop()


async def test_a_password_protects_every_page_but_healthz(server: Server) -> None:
    await server.start(USERS)
    assert server.url.startswith("http://")
    for path in ("/", "/nothing", *PAGES):
        expected = 200 if path == "/healthz" else 401
        assert await server.status(path) == expected, path
        assert await server.status(path, auth=WRONG) == expected, path
        assert await server.status(path, auth=NOBODY) == expected, path
    assert await server.status(auth=RIGHT) == 200
    assert await server.status("/nothing", auth=RIGHT) == 404


async def test_a_refusal_says_how_to_ask(server: Server) -> None:
    await server.start(USERS)
    async with aiohttp.ClientSession() as session, session.get(server.url + "/metrics") as answer:
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
        assert answer.headers["Connection"] == "close"


async def test_tls(server: Server) -> None:
    await server.start(TLS + USERS)
    assert server.url.startswith("https://")
    assert await server.status(auth=RIGHT) == 200
    assert await server.status() == 401
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await server.get(ssl=ssl.create_default_context())
    plain = server.url.replace("https:", "http:")
    with pytest.raises(aiohttp.ClientError):
        async with aiohttp.ClientSession() as session, session.get(plain + "/metrics"):
            pass
    assert await server.status(auth=RIGHT) == 200


async def test_client_certificates(server: Server, authority: Authority) -> None:
    auth = TLS.replace("}", ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem}")
    await server.start(auth)
    known = authority.client(authority.issue("client"))
    assert await server.status(ssl=known) == 200
    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await server.get()


async def test_client_names(server: Server, authority: Authority) -> None:
    auth = "client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem"
    await server.start(TLS.replace("}", f", {auth}, client_allowed_sans: [prom.example]}}"))
    assert await server.status(ssl=authority.client(authority.issue("client", "DNS:prom.example"))) == 200
    for path in ("/metrics", "/healthz"):
        assert (
            await server.status(path, ssl=authority.client(authority.issue("client", "DNS:other.example"))) == 403
        )


async def test_headers_are_on_every_answer(server: Server) -> None:
    await server.start("http_server_config: {headers: {X-Frame-Options: deny}}\n" + USERS)
    async with aiohttp.ClientSession() as session:
        for path, auth in (("/metrics", RIGHT), ("/metrics", None), ("/nothing", RIGHT), ("/healthz", None)):
            async with session.get(server.url + path, headers=authorization(auth)) as answer:
                assert answer.headers["X-Frame-Options"] == "deny", path


async def test_the_rate_is_limited(server: Server) -> None:
    await server.start("rate_limit: {interval: 10h, burst: 2}\n")
    assert [await server.status() for _ in range(3)] == [200, 200, 429]
    assert await server.status("/healthz") == 200


def test_the_bucket_fills_again() -> None:
    now = 0.0
    bucket = Bucket(lambda: now)
    rate = RateLimit(interval_seconds=2.0, burst=3)
    assert [bucket.take(rate) for _ in range(4)] == [True, True, True, False]
    now = 1.9
    assert not bucket.take(rate)
    now = 2.0
    assert [bucket.take(rate) for _ in range(2)] == [True, False]
    now = 1000.0
    assert [bucket.take(rate) for _ in range(4)] == [True, True, True, False]


async def test_a_new_certificate_is_taken_and_no_connection_dropped(
    server: Server, authority: Authority, eventually: Callable[..., Awaitable[Any]]
) -> None:
    await server.start(TLS)

    async def subject() -> str:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=authority.client())
        certificate = writer.get_extra_info("peercert")
        writer.close()
        await writer.wait_closed()
        return str(certificate["subject"][0][0][1])

    port = int(server.url.rpartition(":")[2])
    assert await subject() == "server"
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=authority.client())

    async def ask() -> bytes:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(6) == b"alive\n"
        return head.splitlines()[0]

    assert await ask() == b"HTTP/1.1 200 OK"
    server.certify("renewed")

    async def renewed() -> bool:
        return await subject() == "renewed"

    await eventually(renewed, "the new certificate")
    assert await ask() == b"HTTP/1.1 200 OK", "over the connection of before"
    writer.close()
    await writer.wait_closed()


async def test_a_new_password_is_taken(server: Server, eventually: Callable[..., Awaitable[Any]]) -> None:
    await server.start(USERS)
    assert await server.status(auth=RIGHT) == 200
    server.write(f"basic_auth_users: {{prometheus: {hashed('new')}}}\n")

    async def taken() -> bool:
        return await server.status(auth=("prometheus", "new")) == 200

    await eventually(taken, "the new password")
    assert await server.status(auth=RIGHT) == 401


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("basic_auth_users: {prometheus: plain}", "expected a bcrypt hash"),
        ("", "came or went"),
        (TLS, "basic_auth_users went"),
        (USERS, "came or went"),
        (TLS.replace("server.key", "absent.key") + USERS, "absent.key: No such file"),
    ],
)
async def test_a_file_that_went_wrong_opens_no_door(
    server: Server,
    text: str,
    named: str,
    eventually: Callable[..., Awaitable[Any]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    await server.start(TLS + USERS)
    assert f"{RELOADED} 1\n" in (await server.get(auth=RIGHT))[1]
    server.write(text)

    async def told(value: int) -> bool:
        return f"{RELOADED} {value}\n" in (await server.get(auth=RIGHT))[1]

    await eventually(lambda: told(0), "the failure in the metric")
    assert await server.status() == 401
    assert [named in record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == [
        True
    ]
    server.write(TLS + USERS)
    await eventually(lambda: told(1), "the file mended")


@pytest.mark.parametrize(
    ("key", "named"), [("client_auth_type", "asks for less"), ("client_allowed_sans", "client_allowed_sans went")]
)
def test_a_client_is_never_asked_for_less(
    server: Server, key: str, named: str, caplog: pytest.LogCaptureFixture
) -> None:
    keys = {"client_auth_type": "RequireAndVerifyClientCert", "client_allowed_sans": "[prom.example]"}
    server.write(TLS.replace("}", "".join(f", {name}: {value}" for name, value in keys.items()) + "}"))
    access = Access(server.file)
    left = {} if key == "client_auth_type" else {"client_auth_type": keys["client_auth_type"]}
    server.write(TLS.replace("}", "".join(f", {name}: {value}" for name, value in left.items()) + "}"))
    for _ in range(2):
        access.refresh()
    assert not access.reload_success
    assert [named in record.getMessage() for record in caplog.records] == [True]


async def test_a_key_that_follows_its_certificate_late_is_no_outage(
    server: Server, tmp_path: Path, authority: Authority, eventually: Callable[..., Awaitable[Any]]
) -> None:
    await server.start(TLS)
    certificate, key = authority.issue("late")
    shutil.copy(certificate, tmp_path / "server.pem")

    async def told(value: int) -> bool:
        return f"{RELOADED} {value}\n" in (await server.get())[1]

    await eventually(lambda: told(0), "certificate and key apart")
    shutil.copy(key, tmp_path / "server.key")
    await eventually(lambda: told(1), "certificate and key together")


def test_what_cannot_be_used_at_the_start_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text(TLS)
    with pytest.raises(WebConfigError, match=r"server\.pem: No such file"):
        Access(tmp_path / "web.yml")


def test_no_file_asks_for_nothing() -> None:
    access = Access(None)
    access.refresh()
    assert (access.encrypted, access.authenticated, access.watches) == (False, False, False)


@pytest.mark.parametrize(("text", "warned"), [(USERS, False), (TLS, True), ("{}", True)])
async def test_who_is_authenticated_is_not_warned_about(
    server: Server, text: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    await server.start(text, listen_address="0.0.0.0:0")
    assert ("without authentication" in caplog.text) is warned


def test_a_bad_file_gives_one_line(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text("tls_server_config: {cert: x}\n")
    flags = ["--web.listen-address=127.0.0.1:0", f"--web.config.file={tmp_path / 'web.yml'}"]
    done = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"paceline agent: --web.config.file: {tmp_path / 'web.yml'}: "
        "tls_server_config: needs cert_file and key_file\n"
    )


@pytest.mark.slow
@pytest.mark.skipif(NODE_EXPORTER is None, reason="prometheus-node-exporter is not installed")
@pytest.mark.parametrize("text", [USERS, TLS, TLS + USERS])
async def test_node_exporter_answers_the_same(
    server: Server, text: str, unused_port: int, eventually: Callable[..., Awaitable[Any]]
) -> None:
    await server.start(text)
    ours, peer = server.url, f"{server.url.partition(':')[0]}://127.0.0.1:{unused_port}"
    flags = [f"--web.config.file={server.file}", f"--web.listen-address=127.0.0.1:{unused_port}"]
    process = await asyncio.create_subprocess_exec(
        *(str(NODE_EXPORTER), *flags, "--collector.disable-defaults"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:

        async def listens() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", unused_port)
            except OSError:
                return False
            writer.close()
            return True

        await eventually(listens, "node_exporter listens")
        for auth in (None, RIGHT, WRONG, NOBODY):
            answers = []
            for server.url in (ours, peer):
                answers.append(await server.status(auth=auth))
            assert answers[0] == answers[1], (auth, answers)
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()
