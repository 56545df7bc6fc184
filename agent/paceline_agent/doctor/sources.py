"""The sources as such: each that fails is named, also where no other check knows its subject."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .finding import Finding, count
from .visit import Visit

ELSEWHERE = ("gpu", "host", "rdma")
"""Checks of their own say why these fail."""
# First match wins.
FIXES: Sequence[tuple[type[Exception], str]] = (
    (PermissionError, "let the agent's user read what it names, or run the agent as root"),
    (TimeoutError, "dmesg | tail -n 50 names what hangs"),
    (FileNotFoundError, "set --path.procfs, --path.sysfs and --path.rootfs to where the host's are mounted"),
    (Exception, "report it, with the output of paceline doctor --json"),
)


def examine(visit: Visit) -> Iterator[Finding]:
    """What the agent would count as failed."""
    problems = {name: sampled.problem for name, sampled in visit.sampled.items() if sampled.problem is not None}
    series = sum(len(points) for sampled in visit.sampled.values() for points in sampled.points.values())
    well = len(visit.sampled) - len(problems)
    if not problems:
        yield Finding("sources", "ok", f"{count(well, 'source')}, {series:,} series")
    for name, problem in problems.items():
        if name not in ELSEWHERE:
            why = f"{type(problem).__name__}: {problem}"
            fix = next(fix for kind, fix in FIXES if isinstance(problem, kind))
            yield Finding("sources", "limited", f"{name} fails, {well} are well", why, fix)
