"""Whether the processes of all users are visible: who computes on a GPU, and which pod, job or rank that is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .finding import Finding, count
from .visit import Visit

SUBJECT = "processes"
HIDDEN = {"1": 1, "noaccess": 1, "2": 2, "invisible": 2, "4": 4, "ptraceable": 4}
"""procfs's `hidepid` as it is written in the mount's options (proc(5); names since Linux 5.8)."""


def examine(visit: Visit) -> Iterator[Finding]:
    """The PID namespace first, then what the mount hides."""
    visible = sum(entry.name.isdecimal() for entry in visit.world.procfs.iterdir())
    if visit.place.host_processes:
        yield _hidden(visit, visible) or Finding(SUBJECT, "ok", f"all {visible:,} of the host visible")
        return
    strangers = [seat for seat in visit.world.board.seats or () if seat.pid is None]
    if not strangers and not visit.has_gpus:
        yield Finding(SUBJECT, "ok", f"{visible:,} of this container; no GPU whose users would have to be found")
        return
    ranks = f", {count(len(strangers), 'live rank')} not among them" if strangers else ""
    why = "a PID namespace of its own: processes on GPUs cannot be matched with ranks, pods or jobs"
    fix = visit.place.fix(
        "run the agent in the host's PID namespace",
        "start the container with --pid host",
        "spec: {hostPID: true}",
    )
    yield Finding(SUBJECT, "limited", f"{visible:,} of this container only{ranks}", why, fix)


def _hidden(visit: Visit, visible: int) -> Finding | None:
    found = hiding(visit.world.procfs, Path("/proc/self/mountinfo").read_text())
    exempt = "SYS_PTRACE" in visit.place.capabilities or found.group in visit.place.groups
    if not found.level or exempt:
        return None
    why = f"{visit.world.procfs} is mounted with hidepid={found.level}: other users' processes are hidden"
    fix = visit.place.fix(
        f"mount -o remount,gid={min(visit.place.groups)} {visit.world.procfs}; of a unit, ProtectProc=default",
        "start the container with --cap-add SYS_PTRACE",
        "securityContext: {capabilities: {add: [SYS_PTRACE]}}",
    )
    return Finding(SUBJECT, "limited", f"{visible:,} visible", why, fix)


@dataclass(frozen=True)
class Hiding:
    """What a procfs hides, and from whom not."""

    level: int = 0
    group: int = 0


def hiding(procfs: Path, mountinfo: str) -> Hiding:
    """The options of the last mount at `procfs` (proc(5): /proc/pid/mountinfo)."""
    found = Hiding()
    for line in mountinfo.splitlines():
        fields, _, source = line.partition(" - ")
        if fields.split()[4] == str(procfs):
            options = dict(pair.partition("=")[::2] for pair in source.split()[-1].split(","))
            found = Hiding(HIDDEN.get(options.get("hidepid", ""), 0), int(options.get("gid", "0")))
    return found
