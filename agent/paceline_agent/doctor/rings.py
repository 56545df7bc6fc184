"""The ring directory: can ranks write there, is there room, can the agent read it and see who wrote."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from paceline_exporters.attach.layout import FILE_BYTES
from paceline_exporters.rings import RingDirectory

from .directories import MIB, NO_DIRECTORY, existing, free_bytes, obstacle
from .finding import Finding, count
from .visit import Visit

RANKS = 8
"""A node's usual number."""
SHARED = "volumes and volumeMounts: one hostPath or in-memory emptyDir that training and agent both mount"


@dataclass(frozen=True)
class Seen:
    """What the directory holds."""

    rings: int
    alive: int
    unreadable: int
    """For want of permission."""


def examine(visit: Visit) -> Iterator[Finding]:
    """The directory as training sees it, then its rings as the agent does."""
    path = visit.world.rings
    found = _unusable(visit, path) or _narrow(visit, path)
    if found is not None:
        yield found
    if path.is_dir() and os.access(path, os.R_OK | os.X_OK):
        seen = _look(path)
        if found is None:
            yield Finding("rings", "ok", _sentence(path, seen))
        yield from _hidden(visit, path, seen)


def _unusable(visit: Visit, path: Path) -> Finding | None:
    if not path.exists() and not obstacle(path):
        where = f"{path} is not there yet: the first run makes it"
        return Finding("rings", "absent", f"{where}; {free_bytes(path) / MIB:,.0f} MiB free")
    why = obstacle(path)
    if why:
        fix = visit.place.fix(_install(path, visit), pod=f"{SHARED} at {path}")
        fix = "set --rings.directory to a directory" if NO_DIRECTORY in why else fix
        return Finding("rings", "broken", f"{path} cannot be written as {visit.place.user}", why, fix)
    free = free_bytes(path)
    if free < FILE_BYTES:
        why = f"a ring takes {FILE_BYTES / MIB:.1f} MiB, {free / MIB:.1f} MiB are free: no step is recorded"
        return Finding("rings", "broken", f"{existing(path)} is full", why, _room(visit, path))
    return None


def _narrow(visit: Visit, path: Path) -> Finding | None:
    if not path.exists():
        return None
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & stat.S_IWOTH:
        why = f"its mode is {mode:04o}: other users' training cannot write there"
        return Finding("rings", "limited", f"{path} serves one user", why, _install(path, visit))
    free = free_bytes(path)
    if free < RANKS * FILE_BYTES:
        why = f"{free / MIB:.1f} MiB free: room for {free // FILE_BYTES} of the {RANKS} rings of a node"
        return Finding("rings", "limited", f"{path} is nearly full", why, _room(visit, path))
    return None


def _look(path: Path) -> Seen:
    directory = RingDirectory(path)
    try:
        scan = directory.scan()
        alive = sum(reader.alive() for reader in scan.rings.values())
        return Seen(len(scan.rings), alive, scan.skipped.get("permission", 0))
    finally:
        directory.close()


def _sentence(path: Path, seen: Seen) -> str:
    free = f"{free_bytes(path) / MIB:,.0f} MiB free"
    return f"{path}: {count(seen.rings, 'ring')}, {seen.alive} of live ranks; {free}"


def _hidden(visit: Visit, path: Path, seen: Seen) -> Iterator[Finding]:
    if seen.unreadable:
        total = seen.unreadable + seen.rings
        why = f"rings are 0640: {visit.place.user} is in the group of none of these"
        yield Finding(
            "rings", "limited", f"{seen.unreadable} of {total} not readable", why, _install(path, visit)
        )


def _install(path: Path, visit: Visit) -> str:
    return f"install -d -m 3777 -o {visit.place.uid} -g {os.getegid()} {path}"


def _room(visit: Visit, path: Path) -> str:
    return visit.place.fix(
        f"mount -o remount,size=1G {_mount_point(path)}",
        "start the container with --shm-size 1g",
        "an emptyDir volume of medium Memory with sizeLimit 1Gi, mounted there",
    )


def _mount_point(path: Path) -> Path:
    place = existing(path)
    while not place.is_mount():
        place = place.parent
    return place
