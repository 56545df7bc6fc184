"""Ethtool statistics of the RDMA NICs' network devices: pause frames, discards, link and PCIe faults."""

from __future__ import annotations

from collections.abc import Iterator

from paceline_exporters.sources.ethtool.source import ERRORS

from .finding import Finding, count
from .visit import Visit

SUBJECT = "ethtool"


def examine(visit: Visit) -> Iterator[Finding]:
    """Which of the devices that should answer did."""
    sampled = visit.sampled["ethtool"]
    wanted = sorted({netdev for port in visit.world.board.ports or () for netdev in port.netdevs})
    if not wanted:
        yield Finding(SUBJECT, "absent", "no network device of an RDMA NIC")
        return
    told = {labels[0] for family, points in sampled.points.items() if family is not ERRORS for labels in points}
    failed = {labels[0]: labels[1] for labels in sampled.of(ERRORS)}
    strange = [name for name in wanted if not (visit.world.sysfs / "class" / "net" / name).exists()]
    if strange:
        seen = f"{len(strange)} of {count(len(wanted), 'device')} not to be seen: {', '.join(strange)}"
        why = "they are in another network namespace than this process"
        fix = visit.place.fix(
            "run the agent in the host's network namespace",
            "start the container with --network host",
            "spec: {hostNetwork: true}",
        )
        yield Finding(SUBJECT, "limited", seen, why, fix)
    elif failed:
        name, error = next(iter(failed.items()))
        fix = f"ethtool -S {name}; update the driver that `ethtool -i {name}` names"
        yield Finding(
            SUBJECT, "limited", f"{count(len(failed), 'device')} of {len(wanted)} fail", f"{name}: {error}", fix
        )
    else:
        silent = len(wanted) - len(told & set(wanted))
        more = f"; {silent} without such statistics" if silent else ""
        yield Finding(
            SUBJECT,
            "ok",
            f"{count(len(wanted), 'device')}, {sum(map(len, sampled.points.values()))} series{more}",
        )
