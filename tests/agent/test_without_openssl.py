"""What is loaded into an agent, seen in agents of their own."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from certificates import OPENSSL, Authority

from paceline_agent.without_openssl import leave_out_openssl
from paceline_exporters.messages import Acknowledgement, Report

LOADED = """
import json, sys
from importlib.util import find_spec
from paceline_agent.commands import agent
from paceline_agent.without_openssl import leave_out_openssl
leave_out_openssl()
from paceline_agent import serving
loaded = [name for name in ("asyncio", "aiohttp", "ssl", "_ssl", "_hashlib") if name in sys.modules]
own_hashes = find_spec("_md5") is not None
import hashlib, ssl
print(json.dumps([loaded, own_hashes, hashlib.sha256(b"").hexdigest(), ssl.OPENSSL_VERSION_INFO]))
"""
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_nothing_of_the_agent_loads_it() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, timeout=60)
    loaded, own_hashes, digest, version = json.loads(done.stdout)
    assert loaded == ["asyncio", "aiohttp"] + ["_hashlib"] * (not own_hashes)
    assert digest == EMPTY_SHA256
    assert tuple(version) == ssl.OPENSSL_VERSION_INFO, "who asks for it afterwards gets it"


def test_what_is_loaded_stays() -> None:
    leave_out_openssl()
    assert sys.modules["ssl"] is ssl


class TakesReports(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        report = Report.decode(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(Acknowledgement({}).encode()).encode())
        self.server.reports.append(report)  # type: ignore[attr-defined] # the fixture's

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""


@pytest.fixture
def secure_tuner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HTTPServer]:
    """Takes reports over TLS, in a thread."""
    authority = Authority(tmp_path / "pki")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("tuner"))
    with HTTPServer(("127.0.0.1", 0), TakesReports) as server:
        server.reports = []  # type: ignore[attr-defined] # what came
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
async def test_an_agent_reports_to_a_tuner_behind_tls(
    start_agent: Callable[..., Any], trainer: Any, secure_tuner: Any, eventually: Any
) -> None:
    trainer().steps({"step": 1})
    start_agent(f"--tuner.url=https://127.0.0.1:{secure_tuner.server_port}")
    await eventually(lambda: secure_tuner.reports, "a report over TLS")
