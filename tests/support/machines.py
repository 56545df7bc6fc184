"""Machines of a test's own: network, process and host name spaces, joined by a switch that can be throttled.

Two pairs of devices lead from a machine to the switch's bridge (eth0 - port, bridge, up - down, bridge), all but
eth0 in the switch's namespace: its queues are not the machine's, whose TCP has to find out what they lose.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from types import TracebackType
from typing import Self

PROGRAMS = ("ip", "tc", "unshare")
SPACES = ("unshare", "--fork", "--kill-child", "--pid", "--mount-proc", "--uts", "--")
NETWORK = "10.77.0"
RATE = "tbf rate {megabits}mbit burst 32kb"
LOSES, WAITS = "latency 4ms", "limit 64mb"
"""Of tc-tbf(8): what would have to wait for longer than the latency is dropped; what fits the limit waits."""


class NotAllowed(Exception):
    """This machine makes no network namespaces or throttles none; the text says why."""


class Machines:
    """They exist from entering to leaving; entering raises NotAllowed."""

    def __init__(self, count: int) -> None:
        self._run = f"paceline-{os.getpid()}-{secrets.token_hex(3)}"
        self._switch = f"{self._run}-switch"
        self.names = [f"node-{number}" for number in range(count)]
        self.addresses = [f"{NETWORK}.{number + 1}" for number in range(count)]

    def __enter__(self) -> Self:
        missing = [program for program in PROGRAMS if shutil.which(program) is None]
        if missing:
            raise NotAllowed(f"{', '.join(missing)} missing: install iproute2 and util-linux")
        try:
            self._try_out()
            self._connect()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def command(self, number: int, words: Sequence[str]) -> list[str]:
        """What runs `words` on a machine; when that process is killed, so are all that it began there."""
        named = ["sh", "-c", 'hostname "$0" && exec "$@"', self.names[number], *words]
        return ["ip", "netns", "exec", self._space(number), *SPACES, *named]

    def throttle_port(self, number: int, megabits: int) -> None:
        """The switch passes on so much of what the machine sends and loses the rest: its TCP sends that again."""
        _shape(self._switch, f"up{number}", megabits, LOSES)

    def throttle_device(self, number: int, megabits: int) -> None:
        """The machine's own device sends no faster; what is to be sent waits, and nothing is lost."""
        _shape(self._space(number), "eth0", megabits, WAITS)

    def release_port(self, number: int) -> None:
        """At full speed again."""
        _do("tc", "-n", self._switch, "qdisc", "del", "dev", f"up{number}", "root")

    def _space(self, number: int) -> str:
        return f"{self._run}-{number}"

    def _try_out(self) -> None:
        try:
            _do("ip", "netns", "add", self._switch)
            _shape(self._switch, "lo", 100, LOSES)
            _do("ip", "-n", self._switch, "link", "add", "lan", "type", "bridge")
            _do("ip", "netns", "exec", self._switch, *SPACES, "true")
        except subprocess.CalledProcessError as error:
            raise NotAllowed(f"{' '.join(error.cmd)}: {error.stderr.strip()}") from error

    def _connect(self) -> None:
        switch = ("ip", "-n", self._switch, "link")
        _do(*switch, "set", "lan", "up")
        for number, address in enumerate(self.addresses):
            space, own, port = self._space(number), f"own{number}", f"port{number}"
            up, down = f"up{number}", f"down{number}"
            _do("ip", "netns", "add", space)
            _do("ip", "-n", space, "link", "set", "lo", "up")
            _do("ip", "-n", space, "link", "add", "eth0", "type", "veth", "peer", port, "netns", self._switch)
            _do(*switch, "add", own, "type", "bridge")
            _do(*switch, "add", up, "type", "veth", "peer", "name", down)
            for device, bridge in ((port, own), (up, own), (down, "lan")):
                _do(*switch, "set", device, "master", bridge, "up")
            _do(*switch, "set", own, "up")
            _do("ip", "-n", space, "address", "add", f"{address}/24", "dev", "eth0")
            _do("ip", "-n", space, "link", "set", "eth0", "up")

    def _remove(self) -> None:
        """By their names; devices go with them."""
        spaces = (self._switch, *(self._space(number) for number in range(len(self.names))))
        listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout
        there = {line.split()[0] for line in listed.splitlines() if line}
        for space in spaces:
            if space in there:
                _do("ip", "netns", "delete", space)


def _shape(space: str, device: str, megabits: int, queue: str) -> None:
    words = f"qdisc replace dev {device} root {RATE.format(megabits=megabits)} {queue}"
    _do("tc", "-n", space, *words.split())


def _do(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True)
