"""The host: does its source give numbers, pressure, the host's own network devices, room for the agent itself."""

from __future__ import annotations

from collections.abc import Iterator

from paceline_exporters.sources.cgroups.source import OF_AGENT
from paceline_exporters.sources.host.cpu import CPUS
from paceline_exporters.sources.host.pressure import STALLED

from .finding import Finding, count
from .sampling import Sampled
from .visit import Visit

NEEDED_BYTES = 64 * 2**20
"""What the agent and its child for GPUs take, with a little to spare."""
MIB = 2**20
MOST_NAMES = 8
PRESSURE = ("cpu", "memory", "io")


def examine(visit: Visit) -> Iterator[Finding]:
    """The machine first, then what the agent has of it."""
    sampled = visit.sampled["host"]
    yield _source(visit, sampled)
    if sampled.points:
        yield _pressure(visit, sampled)
    yield _network(visit)
    yield _memory(visit, visit.sampled["cgroups"])


def _source(visit: Visit, sampled: Sampled) -> Finding:
    cpus = round(sampled.one(CPUS) or 0)
    seen = f"{count(cpus, 'CPU')}, {sum(map(len, sampled.points.values()))} series"
    if sampled.problem is None:
        return Finding("host", "ok", seen)
    if sampled.points:
        why = str(sampled.problem)
        return Finding("host", "limited", seen, why, "make the file that it names readable to the agent's user")
    fix = "set --path.procfs to where the host's /proc is mounted"
    return Finding("host", "broken", "its source fails", str(sampled.problem), fix)


def _pressure(visit: Visit, sampled: Sampled) -> Finding:
    told = {resource for resource, _ in sampled.of(STALLED)}
    missing = [resource for resource in PRESSURE if resource not in told]
    if not missing:
        return Finding("pressure", "ok", f"stall times of {', '.join(PRESSURE)}")
    why = f"{visit.world.procfs}/pressure does not tell: the kernel does without (CONFIG_PSI_DEFAULT_DISABLED)"
    return Finding("pressure", "limited", f"no stall times of {', '.join(missing)}", why, "boot with psi=1")


def _network(visit: Visit) -> Finding:
    try:
        entries = sorted((visit.world.sysfs / "class" / "net").iterdir())
    except FileNotFoundError:
        entries = []
    hardware = [entry.name for entry in entries if (entry / "device").exists()]
    if hardware:
        return Finding(
            "network", "ok", f"{count(len(hardware), 'device')} of the host: {', '.join(hardware[:8])}"
        )
    virtual = ", ".join(entry.name for entry in entries) or "none"
    if visit.place.kind == "host":
        return Finding("network", "absent", f"no network hardware; virtual devices: {virtual}")
    why = "a container has a network of its own: the host's traffic and its NICs' statistics are not seen"
    fix = visit.place.fix("", "start the container with --network host", "spec: {hostNetwork: true}")
    return Finding("network", "limited", f"virtual devices only: {virtual}", why, fix)


def _memory(visit: Visit, sampled: Sampled) -> Finding:
    limit = sampled.one(OF_AGENT["memory_limit"])
    if limit is None or limit >= NEEDED_BYTES:
        room = "no limit" if limit is None else f"limit {limit / MIB:,.0f} MiB"
        return Finding("agent memory", "ok", f"{room}; {NEEDED_BYTES / MIB:.0f} MiB are enough")
    why = f"with GPUs it takes up to {NEEDED_BYTES / MIB:.0f} MiB: the kernel would kill it"
    fix = visit.place.fix(
        "systemctl set-property paceline-agent MemoryMax=128M",
        "start the container with --memory 128m",
        "resources: {limits: {memory: 128Mi}}",
    )
    return Finding("agent memory", "limited", f"limit {limit / MIB:.0f} MiB", why, fix)
