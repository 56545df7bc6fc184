"""TCP of the host: net/snmp (RFC 4022) and net/netstat (Documentation/networking/snmp_counter.rst in Linux).

(node_exporter's netstat collector reads the reader's `net`, and has to run in the host's network for that.)
Connections of containers with networks of their own are counted there, and here not.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...metrics import Family, Samples
from .files import Files

FILES = ("snmp", "netstat")

_ROWS = (
    (b"Tcp:", b"InSegs", "receive_segments", "TCP segments received, those with errors included."),
    (b"Tcp:", b"OutSegs", "transmit_segments", "TCP segments sent for the first time."),
    (b"Tcp:", b"RetransSegs", "retransmit_segments", "TCP segments sent again, for want of an acknowledgment."),
    (b"Tcp:", b"InErrs", "receive_errors", "TCP segments received with errors, wrong checksums among them."),
    (
        b"TcpExt:",
        b"TCPDSACKRecvSegs",
        "spurious_retransmit_segments",
        "TCP segments sent again that the receiver had already, by its own word (DSACK, RFC 3708).",
    ),
    (b"TcpExt:", b"TCPTimeouts", "timeouts", "Times that a connection's retransmission timer ran out."),
    (b"TcpExt:", b"ListenDrops", "listen_drops", "Connections to listening sockets that were dropped."),
)
# Group and counter -> family
COUNTERS = {
    (group, counter): Family(f"paceline_host_tcp_{name}_total", text, "counter")
    for group, counter, name, text in _ROWS
}


class Tcp:
    """All connections of the host's network namespace together."""

    families = tuple(COUNTERS.values())

    def __init__(self, procfs: Files) -> None:
        self._procfs = procfs

    def add(self, samples: Samples) -> None:
        """Raises OSError or ValueError."""
        for file in FILES:
            for group, names, values in _groups(self._procfs.read_network(file)):
                for name, value in zip(names, values, strict=True):
                    family = COUNTERS.get((group, name))
                    if family is not None:
                        samples.add(family, int(value))


def _groups(text: bytes) -> Iterator[tuple[bytes, list[bytes], list[bytes]]]:
    """Each is a line of names and a line of values, the group's own name first in both."""
    lines = [line.split() for line in text.splitlines()]
    for (group, *names), (_, *values) in zip(lines[::2], lines[1::2], strict=False):
        yield group, names, values
