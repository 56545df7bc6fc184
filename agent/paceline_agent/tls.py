"""TLS of the agent's server: what a web configuration asks for, as a context of Python's ssl module."""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .config_values import WebConfigError, boolean, chosen, text, texts

SECTION = "tls_server_config"
TLS_KEYS = (
    *("cert", "key", "client_ca", "cert_file", "key_file", "client_ca_file", "client_auth_type"),
    *("client_allowed_sans", "min_version", "max_version", "cipher_suites", "prefer_server_cipher_suites"),
    "curve_preferences",
)
# Go's names, as in crypto/tls, to Python's and OpenSSL's.
CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
TLS13_SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
"""Always on offer with TLS 1.3; a list does not choose among them, in Go neither."""
SUITES = {
    **dict.fromkeys(TLS13_SUITES, ""),
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
}


@dataclass(frozen=True)
class Pem:
    """A certificate or key: in a file, or in the configuration itself."""

    name: str
    """The key it stands under."""
    file: Path | None
    inline: str

    def read(self) -> str:
        """Raises WebConfigError."""
        if self.file is None:
            return self.inline
        try:
            return self.file.read_text()
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "not PEM"
            raise WebConfigError(f"{SECTION}.{self.name}: {self.file}: {why}") from error


@dataclass(frozen=True)
class TlsSettings:
    """The section `tls_server_config`."""

    certificate: Pem
    key: Pem
    client_ca: Pem | None = None
    """Certificates that may sign a client's; None: those that the system trusts."""
    client_auth: ssl.VerifyMode = ssl.CERT_NONE
    client_allowed_sans: frozenset[str] = frozenset()
    """Names of which a client's certificate must have one; none: any name will do."""
    min_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    max_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    suites: tuple[str, ...] = ()
    """OpenSSL's names, best first; none: Python's own choice."""
    server_preference: bool = True
    curve: str = ""
    """OpenSSL's name; empty: OpenSSL's own choice."""

    @property
    def files(self) -> tuple[Path, ...]:
        """What this was read from, beside the configuration itself."""
        pems = (self.certificate, self.key, self.client_ca)
        return tuple(pem.file for pem in pems if pem is not None and pem.file is not None)

    @property
    def asks_client(self) -> bool:
        """Whether a client has to show who it is."""
        return self.client_auth == ssl.CERT_REQUIRED


def tls_settings(values: Mapping[str, Any], directory: Path) -> TlsSettings | None:
    """The section, checked; None where it is empty. Files are relative to `directory`. Raises WebConfigError."""
    if not values:
        return None
    certificate, key, client_ca = (_pem(values, name, directory) for name in ("cert", "key", "client_ca"))
    if certificate is None or key is None:
        raise WebConfigError(f"{SECTION}: needs cert_file and key_file")
    auth = _client_auth(text(values, "client_auth_type", SECTION) or "NoClientCert")
    sans = frozenset(texts(values, "client_allowed_sans", SECTION))
    if client_ca is not None and auth == ssl.CERT_NONE:
        raise WebConfigError(f"{SECTION}: client_ca_file without client_auth_type: RequireAndVerifyClientCert")
    if sans and auth != ssl.CERT_REQUIRED:
        raise WebConfigError(
            f"{SECTION}: client_allowed_sans without client_auth_type: RequireAndVerifyClientCert"
        )
    low, high = (_version(values, key) for key in ("min_version", "max_version"))
    suites = tuple(
        chosen(suite, SUITES, f"{SECTION}.cipher_suites") for suite in texts(values, "cipher_suites", SECTION)
    )
    if suites and not any(suites):  # all of them are TLS 1.3's
        low = ssl.TLSVersion.TLSv1_3
    low, high = low or ssl.TLSVersion.TLSv1_2, high or ssl.TLSVersion.TLSv1_3
    if low > high:
        raise WebConfigError(f"{SECTION}: min_version is above max_version: no client could connect")
    return TlsSettings(
        *(certificate, key, client_ca, auth, sans),
        low,
        high,
        tuple(filter(None, suites)),
        boolean(values, "prefer_server_cipher_suites", SECTION, default=True),
        _curve(texts(values, "curve_preferences", SECTION)),
    )


def make_context(tls: TlsSettings) -> ssl.SSLContext:
    """Read the files. Raises WebConfigError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = tls.min_version, tls.max_version
    context.set_alpn_protocols(["http/1.1"])
    if not tls.server_preference:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.verify_mode = tls.client_auth
    try:
        if tls.suites:
            context.set_ciphers(":".join(tls.suites))
        if tls.curve:
            context.set_ecdh_curve(tls.curve)
        if tls.client_ca is not None:
            context.load_verify_locations(cadata=tls.client_ca.read())
        elif tls.client_auth != ssl.CERT_NONE:
            context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
        with _as_file(tls.certificate) as certificate, _as_file(tls.key) as key:
            context.load_cert_chain(certificate, key, password=_no_password)
    except WebConfigError:
        raise
    except (ssl.SSLError, ValueError) as error:
        raise WebConfigError(_explain(tls, error)) from error
    return context


def has_allowed_san(certificate: Mapping[str, Any] | None, allowed: frozenset[str]) -> bool:
    """Whether a client's certificate, as `getpeercert` gives it, bears one of the names exactly."""
    names = (certificate or {}).get("subjectAltName", ())
    return any((_address(name) if kind == "IP Address" else name) in allowed for kind, name in names)


def _address(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name.strip()))
    except ValueError:
        return name


def _pem(values: Mapping[str, Any], name: str, directory: Path) -> Pem | None:
    file, inline = text(values, f"{name}_file", SECTION), text(values, name, SECTION)
    if file and inline:
        raise WebConfigError(f"{SECTION}: {name} and {name}_file exclude each other")
    if not file and not inline:
        return None
    return Pem(f"{name}_file", directory / file, "") if file else Pem(name, None, inline)


def _client_auth(name: str) -> ssl.VerifyMode:
    if name in ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert"):
        raise WebConfigError(
            f"{SECTION}.client_auth_type: {name} takes certificates that nobody verified, which is not offered; "
            "use RequireAndVerifyClientCert"
        )
    return chosen(name, CLIENT_AUTH, f"{SECTION}.client_auth_type")


def _version(values: Mapping[str, Any], key: str) -> ssl.TLSVersion | None:
    name = text(values, key, SECTION)
    return chosen(name, VERSIONS, f"{SECTION}.{key}") if name else None


def _curve(names: tuple[str, ...]) -> str:
    if len(names) > 1:
        raise WebConfigError(f"{SECTION}.curve_preferences: Python can set one curve only, got {len(names)}")
    return chosen(names[0], CURVES, f"{SECTION}.curve_preferences") if names else ""


def _no_password() -> str:
    raise WebConfigError(f"{SECTION}.key_file: the key is encrypted; write it without a password")


def _explain(tls: TlsSettings, error: Exception) -> str:
    reason = getattr(error, "reason", None) or str(error)
    files = ", ".join(str(path) for path in tls.files) or "the certificate and key"
    return f"{SECTION}: {files}: {str(reason).replace('_', ' ').lower()}"


@contextmanager
def _as_file(pem: Pem) -> Iterator[str]:
    """A path with the same content: OpenSSL reads files only. What was inline is never written to a disk."""
    descriptor = os.memfd_create(pem.name)
    try:
        os.write(descriptor, pem.read().encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
