from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from certificates import OPENSSL, Authority

from paceline_agent.config_values import WebConfigError
from paceline_agent.tls import (
    CURVES,
    SUITES,
    TLS13_SUITES,
    TlsSettings,
    has_allowed_san,
    make_context,
    tls_settings,
)

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an authority, a server's certificate and a stranger's."""
    directory = tmp_path_factory.mktemp("pki")
    authority = Authority(directory)
    authority.issue("server")
    authority.issue("other")
    (directory / "text.pem").write_text("no certificate\n")
    (directory / "binary.pem").write_bytes(b"\xff\xfe")
    command = ["openssl", "ec", "-aes128", "-passout", "pass:x", "-in", "server.key", "-out", "encrypted.key"]
    subprocess.run(command, cwd=directory, check=True, capture_output=True)
    return directory


def settings(directory: Path, **values: Any) -> TlsSettings:
    """With a certificate and key, unless the test names its own."""
    own = {"cert_file": "server.pem", "key_file": "server.key"} if "cert" not in values else {}
    found = tls_settings({**own, **values}, directory)
    assert found is not None
    return found


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """In memory; the server's end. Raises ssl.SSLError of whichever refuses."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    left = server.wrap_bio(to_server, to_client, server_side=True)
    right = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    for _ in range(10):
        for end in (right, left):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    left.version()
    return left


def trusting(pki: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(pki / "ca.pem"))


def test_the_defaults_serve(pki: Path) -> None:
    end = handshake(make_context(settings(pki)), trusting(pki))
    assert (end.version(), end.selected_alpn_protocol()) == ("TLSv1.3", None)


def test_http_2_is_not_on_offer(pki: Path) -> None:
    client = trusting(pki)
    client.set_alpn_protocols(["h2", "http/1.1"])
    assert handshake(make_context(settings(pki)), client).selected_alpn_protocol() == "http/1.1"


def test_certificate_and_key_may_stand_in_the_configuration(pki: Path) -> None:
    inline = settings(pki, cert=(pki / "server.pem").read_text(), key=(pki / "server.key").read_text())
    assert handshake(make_context(inline), trusting(pki)).version() == "TLSv1.3"


def test_versions(pki: Path) -> None:
    old = trusting(pki)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert handshake(make_context(settings(pki, max_version="TLS12")), trusting(pki)).version() == "TLSv1.2"
    with pytest.raises(ssl.SSLError, match="protocol"):
        handshake(make_context(settings(pki, min_version="TLS13")), old)


def test_suites(pki: Path) -> None:
    old = trusting(pki)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    one = settings(pki, cipher_suites=["TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"])
    cipher = handshake(make_context(one), old).cipher()
    assert cipher is not None
    assert cipher[0] == "ECDHE-ECDSA-CHACHA20-POLY1305"
    with pytest.raises(ssl.SSLError):
        handshake(make_context(settings(pki, cipher_suites=list(TLS13_SUITES))), old)


@pytest.mark.parametrize("server_first", [True, False])
def test_whose_preference(pki: Path, server_first: bool) -> None:
    suites = ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]
    client = trusting(pki)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384")
    chosen = settings(pki, cipher_suites=suites, prefer_server_cipher_suites=str(server_first).lower())
    cipher = handshake(make_context(chosen), client).cipher()
    assert cipher is not None
    assert cipher[0] == f"ECDHE-ECDSA-AES{256 if server_first else 128}-GCM-SHA{384 if server_first else 256}"


@pytest.mark.parametrize("suite", [name for name in SUITES if name not in TLS13_SUITES])
def test_openssl_knows_every_suite(pki: Path, suite: str) -> None:
    context = make_context(settings(pki, cipher_suites=[suite]))
    assert SUITES[suite] in [cipher["name"] for cipher in context.get_ciphers()]


@pytest.mark.parametrize("curve", list(CURVES))
def test_curves(pki: Path, curve: str) -> None:
    assert handshake(make_context(settings(pki, curve_preferences=[curve])), trusting(pki)).version() == "TLSv1.3"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"cert_file": "", "key_file": ""}, "needs cert_file and key_file"),
        ({"cert": "a", "cert_file": "b", "key_file": "c"}, "cert and cert_file exclude each other"),
        ({"client_ca_file": "ca.pem"}, "client_ca_file without client_auth_type"),
        ({"client_allowed_sans": ["a"]}, "client_allowed_sans without client_auth_type"),
        (
            {"client_allowed_sans": ["a"], "client_auth_type": "VerifyClientCertIfGiven"},
            "client_allowed_sans without client_auth_type",
        ),
        ({"client_auth_type": "RequireAnyClientCert"}, "nobody verified"),
        ({"client_auth_type": "Always"}, "expected one of NoClientCert"),
        ({"min_version": "TLS13", "max_version": "TLS12"}, "tls_server_config: min_version is above max_version"),
        ({"min_version": "TLS10"}, "tls_server_config.min_version: expected one of TLS12, TLS13"),
        ({"cipher_suites": ["TLS_RSA_WITH_RC4_128_SHA"]}, "tls_server_config.cipher_suites: expected one of"),
        ({"cipher_suites": "TLS_AES_128_GCM_SHA256"}, "tls_server_config.cipher_suites: expected a list"),
        ({"curve_preferences": ["X25519", "CurveP256"]}, "can set one curve only, got 2"),
        ({"curve_preferences": ["P-256"]}, "tls_server_config.curve_preferences: expected one of"),
        ({"cert_file": ["a"]}, "tls_server_config.cert_file: expected text"),
        ({"cert_file": "absent.pem"}, "tls_server_config.cert_file: .*absent.pem: No such file"),
        ({"key_file": "other.key"}, "server.pem, .*other.key: key values mismatch"),
        ({"cert_file": "text.pem"}, "text.pem, .*server.key: "),
        ({"cert_file": "binary.pem"}, "binary.pem: not PEM"),
        ({"key_file": "encrypted.key"}, "the key is encrypted"),
        (
            {"client_ca_file": "text.pem", "client_auth_type": "RequireAndVerifyClientCert"},
            "server.key, .*text.pem: ",
        ),
    ],
)
def test_what_cannot_be_used_is_named(pki: Path, values: dict[str, Any], named: str) -> None:
    with pytest.raises(WebConfigError, match=named) as raised:
        make_context(settings(pki, **values))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("names", "allowed", "expected"),
    [
        ("DNS:prometheus.example", {"prometheus.example"}, True),
        ("DNS:a.example,URI:spiffe://cluster/prometheus", {"spiffe://cluster/prometheus"}, True),
        ("email:sre@example.com", {"sre@example.com"}, True),
        ("IP:10.0.0.1", {"10.0.0.1"}, True),
        ("IP:2001:db8::1", {"2001:db8::1"}, True),
        ("DNS:*.example", {"prometheus.example"}, False),
        ("DNS:prometheus.example", {"PROMETHEUS.example", "10.0.0.1"}, False),
    ],
)
def test_names_of_clients(tmp_path: Path, names: str, allowed: set[str], expected: bool) -> None:
    authority = Authority(tmp_path)
    authority.issue("server")
    chosen = settings(
        tmp_path,
        client_ca_file="ca.pem",
        client_auth_type="RequireAndVerifyClientCert",
        client_allowed_sans=["x"],
    )
    end = handshake(make_context(chosen), authority.client(authority.issue("client", names)))
    assert has_allowed_san(end.getpeercert(), frozenset(allowed)) is expected


def test_no_certificate_has_no_name() -> None:
    assert not has_allowed_san(None, frozenset({"a"}))
    assert not has_allowed_san({}, frozenset({"a"}))


def test_system_certificates_are_the_default_for_clients(pki: Path) -> None:
    context = make_context(settings(pki, client_auth_type="VerifyClientCertIfGiven"))
    assert context.verify_mode == ssl.CERT_OPTIONAL
