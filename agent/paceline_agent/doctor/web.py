"""The listen address: free, taken by an agent that runs already, or by someone else; and who may ask there."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

from ..config_values import WebConfigError
from ..settings import is_loopback, split_address
from ..web_config import WebConfig, read_web_config
from .fetch import Unreachable, get_json
from .finding import Finding, count
from .visit import Visit

REALM = "paceline agent"
"""What an agent that asks for a password calls itself."""


def examine(visit: Visit) -> Iterator[Finding]:
    """Bind as the agent would, and let go at once."""
    host, port = split_address(visit.listen_address)
    try:
        config = WebConfig() if visit.web_config is None else read_web_config(visit.web_config)
        refused = _refusal(config)
    except WebConfigError as error:
        yield Finding("web", "broken", "the agent does not start", str(error), "correct --web.config.file")
        return
    if refused:
        fix = "renew what tls_server_config names; the agent takes it without a restart"
        yield Finding("web", "broken", "no client takes the agent's certificate", refused, fix)
    try:
        with socket.create_server((host, port), family=_family(host)):
            yield Finding("web", "ok", f"{visit.listen_address} is free; {_audience(config, host)}")
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        yield _taken(visit, config, host, port) if taken else _refused(visit, error)


def _refusal(config: WebConfig) -> str:
    """Of the certificate by those who trust it. Raises WebConfigError where the agent would not start."""
    if config.tls is None:
        return ""
    from .certificate import refusal  # not before: without TLS OpenSSL is not needed

    return refusal(config.tls)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _audience(config: WebConfig, host: str) -> str:
    tls = "with" if config.tls else "without"
    if config.users:
        return f"{tls} TLS, for {count(len(config.users), 'user')} with a password"
    return f"{tls} TLS, for {'this machine' if is_loopback(host) else 'whoever reaches it'}"


def _taken(visit: Visit, config: WebConfig, host: str, port: int) -> Finding:
    near = "127.0.0.1" if host in ("", "0.0.0.0", "::") else host
    try:
        answer = get_json(f"{'https' if config.tls else 'http'}://{near}:{port}/v1/rings", trusting=True)
        node = answer.get("node")
        said = "it answers, but not as an agent does"
    except Unreachable as error:
        node = "unknown: it asks for a password" if REALM in error.realm else None
        said = str(error)
    if node is not None:
        return Finding("web", "ok", f"an agent listens on {visit.listen_address}, node {node}")
    fix = f"ss -ltnp 'sport = :{port}' names who has it; stop that, or set --web.listen-address"
    return Finding("web", "broken", f"{visit.listen_address} is taken", said, fix)


def _refused(visit: Visit, error: OSError) -> Finding:
    why = (error.strerror or str(error)).lower()
    fix = "set --web.listen-address to an address of this machine and a port above 1023"
    return Finding("web", "broken", f"cannot listen on {visit.listen_address}", why, fix)
