"""The flags that `paceline agent` and `paceline doctor` share: what doctor says holds for the agent."""

from __future__ import annotations

import argparse
from pathlib import Path

from paceline_exporters.rings import default_directory
from paceline_exporters.sources.contract import World

from ..settings import DEFAULT_ADDRESS, state_home

DEFAULTS = World()


def add_shared(parser: argparse.ArgumentParser) -> None:
    """Add them, named as Prometheus exporters name theirs."""
    add = parser.add_argument
    add(
        "--web.listen-address",
        dest="listen",
        default=DEFAULT_ADDRESS,
        help="host:port to listen on; port 0 takes a free one",
    )
    add(
        "--web.config.file",
        dest="web_config",
        type=Path,
        default=None,
        help="TLS and authentication, in the format of Prometheus' exporters",
    )
    add("--path.sysfs", dest="sysfs", type=Path, default=DEFAULTS.sysfs, help="where sysfs is mounted")
    add("--path.procfs", dest="procfs", type=Path, default=DEFAULTS.procfs, help="where procfs is mounted")
    add(
        "--path.rootfs",
        dest="rootfs",
        type=Path,
        default=DEFAULTS.rootfs,
        help="where the host's root is mounted",
    )
    add(
        "--rings.directory",
        dest="rings",
        type=Path,
        default=default_directory(),
        help="where ranks write their rings",
    )
    add("--tuner.url", dest="tuner", default=None, help="tuner to report runs to; none: nothing is reported")
    add(
        "--spool.directory",
        dest="spool",
        type=Path,
        default=state_home() / "spool",
        help="where reports wait while the tuner is away",
    )
    add(
        "--state.directory",
        dest="state",
        type=Path,
        default=state_home() / "state",
        help="where counters that outlive the agent are kept, by node",
    )
    add("--node", default=DEFAULTS.node, help="this node's name")
