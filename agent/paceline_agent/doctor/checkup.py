"""All checks, each in a thread of its own: a wedged driver or file system below one costs that one only."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from . import (
    directories,
    ethtool,
    gpu,
    host,
    kernel_log,
    owners,
    packages,
    processes,
    rdma,
    rings,
    settings,
    sources,
    training,
    tuner,
    web,
)
from .finding import Finding
from .visit import Visit

Check = Callable[[Visit], Iterator[Finding]]

CHECKS: Mapping[str, Check] = {
    module.__name__.rpartition(".")[2].replace("_", " "): module.examine
    for module in (
        *(settings, packages, gpu, kernel_log, rdma, ethtool, host, processes, owners),
        *(rings, directories, web, tuner, training, sources),
    )
}
"""In the order of the report."""
FLAGS: Mapping[str, Sequence[str]] = {
    "--web.listen-address": ("web",),
    "--path.procfs": ("host", "processes", "owners", "sources"),
    "--path.sysfs": ("gpu", "kernel log", "rdma", "ethtool", "host", "processes", "owners", "sources"),
    "--path.rootfs": ("kernel log", "owners", "sources"),
    "--rings.directory": ("rings", "sources"),
    "--tuner.url": ("tuner",),
}
"""Flag -> checks that find nothing true where it is wrong."""
SECONDS = 4.0
"""All checks together, which run at once."""


def check_all(visit: Visit, checks: Mapping[str, Check] = CHECKS, seconds: float = SECONDS) -> list[Finding]:
    """What every check finds, in their order."""
    running = [_Running(name, _unless_wrong(visit, name, check), visit) for name, check in checks.items()]
    ends = time.monotonic() + seconds
    return [finding for one in running for finding in one.findings(max(0.0, ends - time.monotonic()))]


def _unless_wrong(visit: Visit, name: str, check: Check) -> Check:
    """The check; where a flag that it needs is wrong, a word that says so."""
    wrong = [complaint.partition(": ")[0] for complaint in visit.complaints]
    needed = [flag for flag in wrong if name in FLAGS.get(flag, ())]
    if not needed:
        return check
    return lambda _: iter([Finding(name, "broken", "not examined", f"{needed[0]} is wrong", "see settings")])


class _Running:
    def __init__(self, name: str, check: Check, visit: Visit) -> None:
        self._name, self._check, self._visit = name, check, visit
        self._found: list[Finding] = []
        self._thread = threading.Thread(target=self._examine, name=f"check-{name}", daemon=True)
        self._thread.start()

    def findings(self, seconds: float) -> list[Finding]:
        self._thread.join(seconds)
        if not self._thread.is_alive():
            return self._found
        why = "a driver or a file system below it hangs"
        return [Finding(self._name, "broken", "no answer in time", why, "dmesg | tail -n 50 names what hangs")]

    def _examine(self) -> None:
        try:
            self._found = list(self._check(self._visit))
        except Exception as error:  # noqa: BLE001 - one check that fails is not to cost the others
            why = f"{type(error).__name__}: {error}"
            self._found = [Finding(self._name, "broken", "not examined", why, "report it as a fault of doctor")]
