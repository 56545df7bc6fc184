from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline_agent.config_values import WebConfigError
from paceline_agent.web_config import RateLimit, WebConfig, read_web_config

HASH = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"
NO_SALT = HASH.replace("DKes6eFzPe", "DKes6eFzP/")
"""Its last character stands for bits that a salt does not have."""
EVERYTHING = f"""
tls_server_config:
  cert_file: server.pem
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: /etc/ca.pem
  min_version: TLS12
  max_version: TLS13
  prefer_server_cipher_suites: false
  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]
  curve_preferences: [X25519]
http_server_config:
  http2: true
  headers:
    X-Frame-Options: deny
    Strict-Transport-Security: max-age=3600
    X-XSS-Protection: ""
basic_auth_users:
  prometheus: {HASH}
  1234: {HASH.replace("$2y$", "$2a$")}
"""


def read(directory: Path, text: str) -> WebConfig:
    path = directory / "web.yml"
    path.write_text(text)
    return read_web_config(path)


def test_everything_at_once(tmp_path: Path) -> None:
    config = read(tmp_path, EVERYTHING + "rate_limit: {interval: 1m30.5s, burst: 3}\n")
    assert config.headers == {"X-Frame-Options": "deny", "Strict-Transport-Security": "max-age=3600"}
    assert list(config.users) == [b"prometheus", b"1234"]
    assert config.users[b"prometheus"] == HASH.encode()
    assert config.rate == RateLimit(90.5, 3)
    assert config.tls is not None
    assert config.tls.files == (tmp_path / "server.pem", tmp_path / "server.key", Path("/etc/ca.pem"))
    assert config.tls.suites == ("ECDHE-RSA-AES128-GCM-SHA256",)


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "{}", "tls_server_config:\nbasic_auth_users: {}\n", "rate_limit: {interval: 0}"]
)
def test_nothing(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == WebConfig()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("tls_config: {}", "unknown key tls_config: expected one of tls_server_config"),
        ("tls_server_config: {certfile: a}", "unknown key tls_server_config.certfile"),
        ("http_server_config: {http3: true}", "unknown key http_server_config.http3"),
        ("http_server_config: {headers: {X-Foo: a}}", "unknown key http_server_config.headers.X-Foo"),
        ("rate_limit: {interval: 1s, burts: 1}", "unknown key rate_limit.burts"),
        ("http_server_config: {http2: maybe}", "http_server_config.http2: expected true or false"),
        ("http_server_config: {headers: {X-Frame-Options: foo}}", "expected deny or sameorigin, got 'foo'"),
        ("http_server_config: {headers: {X-XSS-Protection: [a]}}", "X-XSS-Protection: expected one line"),
        ("http_server_config: [a]", "http_server_config: expected keys and values, got a list"),
        ("- a", "the file: expected keys and values, got a list"),
        ("a", "the file: expected keys and values, got 'a'"),
        ("basic_auth_users: {me: secret}", "basic_auth_users.me: expected a bcrypt hash"),
        (f"basic_auth_users: {{me: {HASH[:-1]}}}", "basic_auth_users.me: expected a bcrypt hash"),
        (
            f"basic_auth_users: {{me: {HASH.replace('$2y$', '$2$')}}}",
            "basic_auth_users.me: expected a bcrypt hash",
        ),
        (f"basic_auth_users: {{me: {NO_SALT}}}", "basic_auth_users.me: expected a bcrypt hash"),
        *(
            (f'http_server_config: {{headers: {{X-XSS-Protection: "a{control}b"}}}}', "expected one line of text")
            for control in (r"\r", r"\0", r"\n", r"\e", r"\x7f", r"\x85")
        ),
        (f"basic_auth_users: {{me: {HASH}, me: {HASH}}}", "line 1: key 'me' stands twice"),
        (f"basic_auth_users: {{a: {HASH}}}\nbasic_auth_users: {{}}", "line 2: key 'basic_auth_users' stands"),
        ("rate_limit: {interval: 5, burst: 1}", "rate_limit.interval: expected a duration"),
        ("rate_limit: {interval: 1s}", "rate_limit.burst: expected a whole number of at least 1"),
        ("rate_limit: {interval: 1s, burst: 0}", "rate_limit.burst: expected a whole number of at least 1"),
        ("a: [", "not YAML"),
        ("\x00", "not YAML"),
        ("[" * 10_000, "not YAML"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(WebConfigError) as raised:
        read(tmp_path, text)
    assert str(raised.value).startswith(f"{tmp_path / 'web.yml'}: ")
    assert named in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WebConfigError, match=r"absent\.yml: No such file"):
        read_web_config(tmp_path / "absent.yml")


@pytest.mark.parametrize("version", ["2a", "2b", "2x", "2y"])
def test_every_hash_that_is_taken_can_be_checked(tmp_path: Path, version: str) -> None:
    hashed = HASH.replace("2y", version, 1)
    [taken] = read(tmp_path, f"basic_auth_users: {{me: {hashed}}}").users.values()
    assert bcrypt.checkpw(b"wrong", taken) is False


def test_a_tab_in_a_header_is_text(tmp_path: Path) -> None:
    config = read(tmp_path, 'http_server_config: {headers: {X-XSS-Protection: "1;\\tmode=block"}}')
    assert config.headers == {"X-XSS-Protection": "1;\tmode=block"}


@pytest.mark.parametrize("module", ["yaml", "bcrypt"])
def test_a_missing_package_says_what_to_install(
    tmp_path: Path, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(WebConfigError, match=rf"no module {module}: pip install 'paceline\[agent\]'"):
        read(tmp_path, f"basic_auth_users: {{me: {HASH}}}")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_configuration_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yml"
    path.write_bytes(data)
    try:
        read_web_config(path)
    except WebConfigError as error:
        assert "\n" not in str(error)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "http_server_config: {http2: false, headers: {X-Content-Type-Options: nosniff}}",
        f"basic_auth_users: {{me: {HASH}, 1234: {HASH}}}",
        "http_server_config: {headers: {X-Foo: a}}",
        "http_server_config: {headers: {X-Frame-Options: foo}}",
        "http_server_config: {http2: maybe}",
        "basic_auth_users: {me: secret}",
        f"basic_auth_users: {{me: {HASH}, me: {HASH}}}",
        "foo: 1",
        "[]",
        "tls_server_config: {cert_file: a.pem}",
        "tls_server_config: {cert_file: a.pem, key_file: a.key, min_version: SSL3}",
        "tls_server_config: {cert_file: a.pem, key_file: a.key, curve_preferences: [P1]}",
        "tls_server_config: {cert_file: a.pem, key_file: a.key, cipher_suites: [RC4]}",
        "tls_server_config: {cert_file: a.pem, key_file: a.key, client_auth_type: Maybe}",
    ],
)
def test_promtool_is_of_the_same_opinion(tmp_path: Path, text: str) -> None:
    try:
        read(tmp_path, text)
        accepted = True
    except WebConfigError:
        accepted = False
    command: list[Any] = ["promtool", "check", "web-config", tmp_path / "web.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert accepted == (done.returncode == 0), done.stderr
