"""`--web.config.file`: TLS, basic authentication, headers and rate limit, in the format of Prometheus' exporters.

Source: docs/web-configuration.md and web/tls_config.go of prometheus/exporter-toolkit. A file that its checks
refuse is refused here. Not offered, and refused with the reason: what takes a client's certificate without
verifying it, TLS before 1.2, several curves (Python sets one), cipher suites that Go calls insecure. `http2` is
accepted and changes nothing: this server speaks HTTP/1.1, as does every client of one that offers both.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config_values import WebConfigError, boolean, mapping

if TYPE_CHECKING:
    from .tls import TlsSettings

SECTIONS = ("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit")
# Header -> the values it may have; none: any.
HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
BCRYPT = re.compile(r"(\$2[abxy]\$)(?:0[4-9]|[12]\d|3[01])\$([./A-Za-z0-9]{22})[./A-Za-z0-9]{31}")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
"""Characters that have no place in a header."""
UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


@dataclass(frozen=True)
class RateLimit:
    """A bucket of `burst` requests that gains one every `interval_seconds`."""

    interval_seconds: float
    burst: int


@dataclass(frozen=True)
class WebConfig:
    """What the file says; without one nothing is asked of a client."""

    tls: TlsSettings | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Added to each answer."""
    users: Mapping[bytes, bytes] = field(default_factory=dict)
    """User -> bcrypt hash of the password; none: anyone is admitted."""
    rate: RateLimit | None = None


def read_web_config(path: Path) -> WebConfig:
    """The file, checked, with its certificate and key. Raises WebConfigError."""
    try:
        return _web_config(_document(path.read_text()), path.parent)
    except OSError as error:
        raise WebConfigError(f"{error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise WebConfigError(f"{path}: {error}") from error


def _document(text: str) -> Any:
    yaml = _module("yaml")
    try:
        # Every scalar as text, as the keys' own types decide what it is: a user may be called 1234.
        node = yaml.compose(text, Loader=yaml.BaseLoader)
        document = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise WebConfigError(f"not YAML: {' '.join(str(error).split())}") from error
    _refuse_twice(node)
    return document


def _module(name: str) -> Any:
    """Of a package that an agent without such a file never loads."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise WebConfigError(f"there is no module {name}: pip install 'paceline[agent]'") from error


def _refuse_twice(node: Any) -> None:
    """Of a key that stands twice YAML takes the last: a second `basic_auth_users` would replace the first."""
    pairs = node.value if node is not None and node.id == "mapping" else []
    seen: list[Any] = []
    for key, value in pairs:
        if key.value in seen:
            raise WebConfigError(f"line {key.start_mark.line + 1}: key {key.value!r} stands twice")
        seen.append(key.value)
        _refuse_twice(value)


def _web_config(document: Any, directory: Path) -> WebConfig:
    from .tls import TLS_KEYS, tls_settings  # not before: see `without_openssl`

    sections = mapping(document, "", SECTIONS)
    http = mapping(sections.get("http_server_config"), "http_server_config", ("http2", "headers"))
    boolean(http, "http2", "http_server_config", default=True)
    tls = mapping(sections.get("tls_server_config"), "tls_server_config", TLS_KEYS)
    return WebConfig(
        tls_settings(tls, directory),
        _headers(http.get("headers")),
        _users(sections.get("basic_auth_users")),
        _rate(mapping(sections.get("rate_limit"), "rate_limit", ("interval", "burst"))),
    )


def _headers(raw: Any) -> Mapping[str, str]:
    headers = mapping(raw, "http_server_config.headers", HEADERS)
    for name, value in headers.items():
        allowed = HEADERS[name]
        if not isinstance(value, str) or CONTROL.search(value) or (allowed and value not in allowed):
            takes = " or ".join(allowed) or "one line of text"
            raise WebConfigError(f"http_server_config.headers.{name}: expected {takes}, got {value!r}")
    return {name: value for name, value in headers.items() if value}


def _users(raw: Any) -> Mapping[bytes, bytes]:
    users = mapping(raw, "basic_auth_users", None)
    for user, hashed in users.items():
        if not isinstance(hashed, str) or not _can_be_checked(hashed):
            raise WebConfigError(f"basic_auth_users.{user}: expected a bcrypt hash, as `htpasswd -nBC 10 {user}`")
    return {user.encode(): hashed.encode() for user, hashed in users.items()}


def _can_be_checked(hashed: str) -> bool:
    """By bcrypt itself, which takes not every version and salt: now, rather than at the first password. The cost
    plays no part in that, so the lowest is taken."""
    bcrypt = _module("bcrypt")
    found = BCRYPT.fullmatch(hashed)
    try:
        return found is not None and bool(bcrypt.hashpw(b"", f"{found[1]}04${found[2]}".encode()))
    except ValueError:
        return False


def _rate(raw: Mapping[str, Any]) -> RateLimit | None:
    interval = _seconds(raw.get("interval", "0"))
    if interval == 0:
        return None
    burst = raw.get("burst", "0")
    if not isinstance(burst, str) or not burst.isdecimal() or int(burst) < 1:
        raise WebConfigError(f"rate_limit.burst: expected a whole number of at least 1, got {burst!r}")
    return RateLimit(interval, int(burst))


def _seconds(text: Any) -> float:
    """Seconds of a Go duration such as `1m30s` or `500ms`."""
    parts = DURATION.findall(text) if isinstance(text, str) else []
    if text != "0" and "".join(number + unit for number, unit in parts) != text:
        raise WebConfigError(f"rate_limit.interval: expected a duration such as 500ms or 1m30s, got {text!r}")
    return sum(float(number) * UNITS[unit] for number, unit in parts)
