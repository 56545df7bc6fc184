"""The tuner that runs are reported to: does it answer, and is it one."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from .fetch import Unreachable, get_json
from .finding import Finding
from .visit import Visit

REPORTS = "/v1/windows"
"""The agent posts there."""


def examine(visit: Visit) -> Iterator[Finding]:
    """Ask the service for its own description: nothing is posted."""
    url = visit.tuner_url
    if url is None:
        yield Finding("tuner", "absent", "no --tuner.url: nothing is reported")
        return
    try:
        document = get_json(f"{url.rstrip('/')}/openapi.json")
    except Unreachable as error:
        yield Finding("tuner", "broken", f"{url} does not answer as a tuner does", str(error), _fix(visit, url))
        return
    info, paths = document.get("info"), document.get("paths")
    if not isinstance(info, dict) or not isinstance(paths, dict) or REPORTS not in paths:
        why = f"its /openapi.json knows no {REPORTS}"
        yield Finding("tuner", "broken", f"{url} is not a tuner", why, "set --tuner.url to where it listens")
        return
    yield Finding("tuner", "ok", f"{url} answers: {info.get('title')} {info.get('version')}")


def _fix(visit: Visit, url: str) -> str:
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]  # where the agent posts to
    return visit.place.fix(
        f"start it (paceline serve --web.listen-address {host}:{port}), or set --tuner.url",
        pod="label this pod paceline/tuner-client=true; kubectl get services -A | grep paceline-tuner",
    )
