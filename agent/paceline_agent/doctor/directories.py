"""The agent's own directories: reports that wait for the tuner, counters that outlive the agent."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from .finding import Finding
from .visit import Visit

NEEDED_BYTES = 2**20
"""Less than this free, and the next report or counter may not fit."""
MIB = 2**20
NO_DIRECTORY = os.strerror(errno.ENOTDIR).lower()


def examine(visit: Visit) -> Iterator[Finding]:
    """State always; the spool where reports go to a tuner."""
    keeps = "counters begin anew with every restart of the agent"
    yield _directory("state", visit, visit.state_directory, "--state.directory", keeps)
    if visit.tuner_url is None:
        yield Finding("spool", "absent", "no --tuner.url: nothing is reported, nothing waits")
    else:
        yield _directory("spool", visit, visit.spool_directory, "--spool.directory", "the agent does not start")


def existing(path: Path) -> Path:
    """The path, or the nearest above it that is there. Raises OSError where one cannot be looked into."""
    while True:
        try:
            path.stat()
        except FileNotFoundError:
            path = path.parent
        else:
            return path


def obstacle(path: Path) -> str:
    """Why this user cannot make files in a directory that is there or would be made; empty where it can."""
    try:
        place = existing(path)
    except OSError as error:
        return (error.strerror or str(error)).lower()
    if not place.is_dir():
        return f"{place} is {NO_DIRECTORY}"
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        return f"{os.strerror(errno.EROFS).lower()} at {place}"
    if not os.access(place, os.W_OK | os.X_OK):
        return f"{os.strerror(errno.EACCES).lower()} at {place}"
    return ""


def free_bytes(path: Path) -> int:
    """What a user without privileges may still write there."""
    usage = os.statvfs(existing(path))
    return usage.f_bavail * usage.f_frsize


def _directory(subject: str, visit: Visit, path: Path, flag: str, costs: str) -> Finding:
    why = obstacle(path)
    if why:
        pod = f"mount an emptyDir or hostPath volume, and set {flag} to a directory of it"
        user = visit.place.user
        fix = visit.place.fix(f"install -d -m 700 -o {user} {path}, or set {flag}", pod=pod)
        fix = f"set {flag} to a directory" if NO_DIRECTORY in why else fix
        return Finding(subject, "limited", f"{path} cannot be written", f"{why}: {costs}", fix)
    free = free_bytes(path)
    if free < NEEDED_BYTES:
        why = f"{free / MIB:.1f} MiB free: {costs}"
        return Finding(subject, "limited", f"{path} is full", why, f"free space there, or set {flag}")
    return Finding(subject, "ok", f"{path} can be written, {free / MIB:,.0f} MiB free")
