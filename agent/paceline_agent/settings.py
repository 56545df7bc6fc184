"""The agent's settings: checked once, where they are made, and passed down unchanged."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from paceline_exporters.sources.contract import World

DEFAULT_ADDRESS = "127.0.0.1:19470"


class SettingsError(ValueError):
    """Settings that cannot be used; each of `args` names a flag and what it takes, as `--flag: what`."""

    def __str__(self) -> str:
        return "; ".join(map(str, self.args))


@dataclass(frozen=True)
class Limits:
    """What a client may cost."""

    unfinished_answers: int = 16
    """Not yet taken by their clients; beyond that the oldest is dropped."""
    unfinished_answers_of_peer: int = 4
    """The same of one address."""
    send_seconds: float = 10.0
    """A client that has not taken its answer by then is dropped."""
    silent_seconds: float = 10.0
    """A connection that has not sent its first request by then, or a later one that it has begun, is dropped."""
    keepalive_seconds: float = 75.0
    """A connection that was answered waits so long for its next request: longer than most scrape intervals."""
    line_bytes: int = 8190
    """Longest request line and longest header."""
    connections: int = 64
    """Open at once; beyond that the longest idle goes, then the longest silent."""


@dataclass(frozen=True)
class Settings:
    """All that `paceline agent` can be told."""

    listen_address: str = DEFAULT_ADDRESS
    """host:port, :port or [host]:port; port 0 takes a free one."""
    web_config_file: Path | None = None
    """TLS and authentication, as Prometheus' exporters take them; None: neither."""
    world: World = field(default_factory=World)
    ring_retention_seconds: float = 3600.0
    """Rings that nobody holds are removed after this."""
    tuner_url: str | None = None
    """Where windows go; the agent posts to no other address."""
    spool_directory: Path = field(default_factory=lambda: state_home() / "spool")
    spool_bytes: int = 64 * 2**20
    """Most the spool may hold; the oldest goes first."""
    series_per_source: int = 5000
    """Budget; what comes last is dropped and counted."""
    report_seconds: float = 2.0
    """Period of looking at the rings and reporting what is new."""
    limits: Limits = field(default_factory=Limits)

    @property
    def needs_tls(self) -> bool:
        """Whether anything here may be encrypted."""
        return self.web_config_file is not None or urlsplit(self.tuner_url or "").scheme == "https"

    def __post_init__(self) -> None:
        """Raises SettingsError."""
        complaints = [*self._complaints(), *_complaints(self.world)]
        if complaints:
            raise SettingsError(*complaints)

    def _complaints(self) -> Iterator[str]:
        try:
            split_address(self.listen_address)
        except SettingsError as error:
            yield str(error)
        if self.series_per_source < 1:
            yield f"--limits.series: expected at least 1, got {self.series_per_source}"
        if self.tuner_url is not None and not _is_url(self.tuner_url):
            yield f"--tuner.url: expected an address such as http://tuner:19471, got {self.tuner_url!r}"


def _complaints(world: World) -> Iterator[str]:
    for name in ("procfs", "sysfs", "rootfs"):
        path = getattr(world, name)
        if not _is_directory(path):
            yield f"--path.{name}: {path} is not a directory"
    if not _may_be_read(world.rings):
        yield f"--rings.directory: {world.rings} is not a directory this user can read"
    if world.peak_flops is not None and not world.peak_flops > 0:
        yield f"--peak.flops: expected FLOP/s above 0, got {world.peak_flops:g}"
    if not world.node.strip():
        yield f"--node: expected a name, got {world.node!r}"


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # it lies where this user may not look
        return False


def _may_be_read(rings: Path) -> bool:
    """A directory that is not there yet will be."""
    try:
        return not rings.exists() or (rings.is_dir() and os.access(rings, os.R_OK | os.X_OK))
    except OSError:  # it lies where this user may not look
        return False


def state_home() -> Path:
    """$XDG_STATE_HOME/paceline, else ~/.local/state/paceline."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "paceline"


def split_address(address: str) -> tuple[str, int]:
    """Host (empty means all interfaces) and port. Raises SettingsError."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise SettingsError(f"--web.listen-address: expected host:port, got {address!r}")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # another name: who may reach it is the resolver's to say
        return False


def duration(text: str) -> float:
    """Seconds from `90`, `90s`, `5m`, `1h`, `2d`. Raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h|d|)", text)
    if not match:
        raise ValueError(f"expected a duration such as 90s, 5m or 1h, got {text!r}")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        return whole and not re.search(r"\s", url)
    except ValueError:
        return False
