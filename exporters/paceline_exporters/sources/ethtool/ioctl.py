"""What `ethtool -S` asks the kernel, without the command: the SIOCETHTOOL ioctl of linux/ethtool.h.

None of these requests needs a privilege. The kernel answers for the network namespace the socket was made in.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from array import array
from collections.abc import Sequence

SIOCETHTOOL = 0x8946
GSTRINGS, GSTATS, GSSET_INFO = 0x1B, 0x1D, 0x37
SS_STATS = 1
STRING_BYTES = 32
IFNAMSIZ = 16
SLACK = 8192
"""Entries of room beyond the count: older kernels write as many as the driver has by then, whatever they were
asked for, and new channels between two requests may add some thousands."""

# struct ifreq: the name, then a union of 24 bytes of which the pointer is one member.
_IFREQ = struct.Struct(f"{IFNAMSIZ}sP16x")
# struct ethtool_sset_info: cmd, reserved, mask of string sets, then a count per set that the kernel knows.
_SSET_INFO = struct.Struct("=IIQI4x")
# struct ethtool_gstrings: cmd, set, count, then the strings.
_GSTRINGS = struct.Struct("=III")
# struct ethtool_stats: cmd, count, then the values.
_GSTATS = struct.Struct("=II")


class StatisticsSocket:
    """A datagram socket that is kept, and asked for one device at a time. Its methods raise OSError: ENODEV for
    a device that is not in this network namespace (any more), EOPNOTSUPP for one without statistics."""

    def __init__(self) -> None:
        """Raises OSError where the kernel has no IPv4."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._names = array("B")
        self._values = array("Q")

    def count(self, device: str) -> int:
        """How many statistics the device has now."""
        buffer = array("B", _SSET_INFO.pack(GSSET_INFO, 0, 1 << SS_STATS, 0))
        self._ask(device, buffer)
        _, _, known, count = _SSET_INFO.unpack(buffer)
        if not known:
            raise _error(errno.EOPNOTSUPP, device)
        return int(count)

    def names(self, device: str, count: int) -> bytes:
        """Their names as the kernel writes them, to be compared as a whole and given to `split`."""
        room = _GSTRINGS.size + STRING_BYTES * (count + SLACK)
        if len(self._names) < room:
            self._names = array("B", bytes(room))
        _GSTRINGS.pack_into(self._names, 0, GSTRINGS, SS_STATS, count)
        self._ask(device, self._names)
        self._check(device, _GSTRINGS.unpack_from(self._names)[2], count)
        return bytes(memoryview(self._names)[_GSTRINGS.size : _GSTRINGS.size + STRING_BYTES * count])

    def values(self, device: str, count: int) -> Sequence[int]:
        """Their values, in the order of the names; overwritten by the next call."""
        room = 1 + count + SLACK
        if len(self._values) < room:
            self._values = array("Q", bytes(8 * room))
        _GSTATS.pack_into(self._values, 0, GSTATS, count)
        self._ask(device, self._values)
        self._check(device, _GSTATS.unpack_from(self._values)[1], count)
        return memoryview(self._values)[1 : 1 + count]

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _ask(self, device: str, buffer: array[int]) -> None:
        name = os.fsencode(device)
        if len(name) >= IFNAMSIZ:
            raise _error(errno.ENODEV, device)
        try:
            fcntl.ioctl(self._socket, SIOCETHTOOL, _IFREQ.pack(name, buffer.buffer_info()[0]))
        except OSError as error:
            raise _error(error.errno or errno.EIO, device) from error

    def _check(self, device: str, answered: int, count: int) -> None:
        """Between two requests the driver may have got other statistics."""
        if answered != count:
            raise _error(errno.EAGAIN, device)


def split(names: bytes) -> list[str]:
    """The names one by one; drivers need not end a full one with NUL."""
    slots = (names[at : at + STRING_BYTES] for at in range(0, len(names), STRING_BYTES))
    return [slot.partition(b"\0")[0].decode("ascii", "replace").strip() for slot in slots]


def _error(number: int, device: str) -> OSError:
    return OSError(number, os.strerror(number), device)
