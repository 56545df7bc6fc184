from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from paceline_agent.doctor.ethtool import examine
from paceline_agent.doctor.finding import Finding
from paceline_agent.doctor.place import Place
from paceline_agent.doctor.sampling import Sampled
from paceline_agent.doctor.visit import Visit
from paceline_exporters.sources.board import Board, Port
from paceline_exporters.sources.ethtool.source import ERRORS, RAW

PORTS = tuple(Port(f"mlx5_{n}", "1", f"0000:1{n}:00.0", (f"ens{n}",), "Ethernet") for n in range(2))


def found(visit: Visit, points: Mapping[Any, Any], here: int = 2) -> Finding:
    """With network devices of which so many are in sight."""
    for number in range(here):
        (visit.world.sysfs / "class/net" / f"ens{number}").mkdir(parents=True)
    world = replace(visit.world, board=Board(ports=PORTS))
    [one] = examine(replace(visit, world=world, sampled={"ethtool": Sampled(points=points)}))
    return one


def test_no_nic(visit: Callable[..., Visit]) -> None:
    [one] = examine(visit(sampled={"ethtool": Sampled()}))
    assert one.status == "absent"


def test_statistics_of_each(visit: Callable[..., Visit]) -> None:
    one = found(visit(), {RAW: {("ens0", "rx_x"): 1, ("ens0", "rx_y"): 1}})
    assert (one.status, one.seen) == ("ok", "2 devices, 2 series; 1 without such statistics")


def test_another_network_namespace(visit: Callable[..., Visit], host: Place) -> None:
    one = found(visit(replace(host, kind="pod")), {}, here=1)
    assert (one.status, one.seen) == ("limited", "1 of 2 devices not to be seen: ens1")
    assert one.fix == "spec: {hostNetwork: true}"


def test_a_device_that_fails(visit: Callable[..., Visit]) -> None:
    one = found(visit(), {ERRORS: {("ens1", "EIO"): 3}})
    assert (one.status, one.why) == ("limited", "ens1: EIO")
    assert one.fix.startswith("ethtool -S ens1")
