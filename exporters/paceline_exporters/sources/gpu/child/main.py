"""The child's one thread: samples GPUs in groups, each with a period of its own, and tells the parent in lines.

A line is a JSON array, whose first item says what it is:

- `["begin", group, who, at]`: a call begins that may never return; said once for those of its group that follow
  within a second. `who` is a GPU's UUID, `#2` for the GPU of that index before its UUID is known, or empty for
  the driver as a whole.
- `["topology", {"driver", "nvml", "cuda"}, [gpu, ...], ["#2", ...]]`: what there is; last, what did not open.
- `["data", group, uuid, at, values]`: one GPU's, or MIG instance's, readings (`asking.Values`). The group is the
  one that began, or `activity`, which is read with `fast`.
- `["lost", who, error]`: this GPU does not answer; it is left alone from here on.
- `["xid", uuid, code, wall]`: an event from the driver.
- `["rest", until, nvml_seconds, errors]`: a round is done; nothing is asked of the driver before `until`. Last,
  how often calls have failed, by error.
- `["gone", error]`: nothing can be had from the driver; the process ends.

Times are of the monotonic clock, which all processes share; `wall` is Unix time.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from .announcing import Announcer
from .events import Events
from .gpu import Gpu
from .nvml import DriverGone, Failed, Lost, Nvml
from .rounds import Rounds

_PR_SET_PDEATHSIG = 1
_encode = json.JSONEncoder(separators=(",", ":")).encode


def say(*message: Any) -> None:
    """Write one line to the parent; it is written whole, or this process ends with the pipe (SIGPIPE)."""
    line = _encode(message).encode() + b"\n"
    while line:
        line = line[os.write(1, line) :]


class Node:
    """All GPUs that NVML lists."""

    def __init__(self, suspects: Sequence[str], hold_seconds: float) -> None:
        """`suspects` (as `who` in the lines) wedged the process before this one: they are asked last, and not
        before the others have been sampled for a while."""
        self._announcer = Announcer(say)
        self._announcer.begin("init", "")
        self.nvml = Nvml(self._announcer)
        self.gpus: list[Gpu] = []
        self._hold_until = dict.fromkeys(suspects, time.monotonic() + hold_seconds)
        self._unopened = [f"#{index}" for index in range(self.nvml.call("nvmlDeviceGetCount"))]
        self._failed: list[str] = []
        self._has_told = False
        self._versions = {"driver": self.nvml.driver_version, **self._other_versions()}
        self.events = Events(self.nvml)

    def open(self) -> None:
        """Open what is not open yet and not held; each GPU once."""
        ready = [who for who in self._unopened if not self._is_held(who)]
        for who in ready:
            self._unopened.remove(who)
            self._announcer.begin("init", who)
            try:
                self._open(int(who[1:]))
            except Failed as error:
                self._failed.append(who)
                say("lost", who, str(error))
        if ready or not self._has_told:
            self.tell_topology()
            self.events.watch(self.gpus)

    def ready(self) -> list[Gpu]:
        """Those to sample now."""
        return [gpu for gpu in self.gpus if not self._is_held(gpu.uuid)]

    def sample(self, group: str, gpu: Gpu) -> None:
        """One group of readings of one GPU."""
        self._announcer.begin(group, gpu.uuid)
        try:
            GROUPS[group](self, gpu)
        except Lost as error:
            self.gpus.remove(gpu)
            say("lost", gpu.uuid, str(error))
            self.events.watch(self.gpus)

    def tell_topology(self) -> None:
        """Say what there is now."""
        self._has_told = True
        say("topology", self._versions, [gpu.describe() for gpu in self.gpus], self._failed)

    def _open(self, index: int) -> None:
        gpu = Gpu(self.nvml, self.nvml.call("nvmlDeviceGetHandleByIndex", index), index)
        gpu.look_for_instances()
        self.gpus.append(gpu)

    def _is_held(self, who: str) -> bool:
        return time.monotonic() < self._hold_until.get(who, 0.0)

    def _other_versions(self) -> dict[str, str]:
        versions = {}
        for name, function in (
            ("nvml", "nvmlSystemGetNVMLVersion"),
            ("cuda", "nvmlSystemGetCudaDriverVersion_v2"),
        ):
            with contextlib.suppress(Failed):
                versions[name] = str(self.nvml.call(function))
        if versions.get("cuda", "").isdecimal():  # 12040 is 12.4
            number = int(versions["cuda"])
            versions["cuda"] = f"{number // 1000}.{number % 1000 // 10}"
        return versions


def _fast(_: Node, gpu: Gpu) -> None:
    for device in (gpu, *gpu.instances.values()):
        say("data", "fast", device.uuid, time.monotonic(), device.fast())
        # A group of its own: it takes two readings, and what the process before said is to stay till then.
        if activity := device.activity():
            say("data", "activity", device.uuid, time.monotonic(), activity)


def _processes(_: Node, gpu: Gpu) -> None:
    # Of a GPU with instances the driver lists them only to an administrator, of each instance to everyone.
    for device in gpu.instances.values() or (gpu,):
        say("data", "processes", device.uuid, time.monotonic(), device.processes())


def _slow(node: Node, gpu: Gpu) -> None:
    if gpu.look_for_instances():
        node.tell_topology()
    say("data", "slow", gpu.uuid, time.monotonic(), gpu.slow())


def _rare(_: Node, gpu: Gpu) -> None:
    say("data", "rare", gpu.uuid, time.monotonic(), gpu.rare())


GROUPS: Mapping[str, Callable[[Node, Gpu], None]] = {
    "fast": _fast,
    "processes": _processes,
    "slow": _slow,
    "rare": _rare,
}


def serve(node: Node) -> None:
    """Sample for ever. Raises DriverGone."""
    rounds = Rounds(node.ready, node.sample)
    while True:
        node.open()
        rounds.run()
        until = rounds.rest_until()
        say("rest", until, node.nvml.seconds, node.nvml.errors)
        for event in _events(node, until):
            if event is None:
                rounds.hasten("slow")
                break
            say("xid", *event, time.time())


def _events(node: Node, until: float) -> Iterator[tuple[str, int] | None]:
    """XIDs as they come, until it is time; None for a change of MIG instances, which is looked at at once."""
    while (left := until - time.monotonic()) > 0:
        yield from node.events.wait(left)


def stay_with(parent: int) -> None:
    """End when the parent does, also inside a call of the driver (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(0)


def main(parent: int, hold_seconds: float, suspects: Sequence[str]) -> None:
    """Run until the parent ends or the driver is gone."""
    stay_with(parent)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    try:
        serve(Node(suspects, hold_seconds))
    except (DriverGone, Failed) as error:
        say("gone", str(error))
    except Exception as error:  # noqa: BLE001 - nobody reads this process's standard error: the parent logs it
        say("gone", f"{type(error).__name__}: {error}")
