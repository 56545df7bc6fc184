"""A thread with a network namespace of its own, for real devices that nobody else sees."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

CLONE_NEWNET = 0x40000000
Isolated = Callable[[Callable[[], None]], None]


def unshare_network() -> None:
    """A namespace belongs to a thread; its sockets and the commands it starts are in it too."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "unshare(CLONE_NEWNET)")


@pytest.fixture
def isolated() -> Iterator[Isolated]:
    """Runs a function in a network namespace that lasts for the test."""
    if shutil.which("ip") is None or shutil.which("ethtool") is None:
        pytest.skip("no ip or no ethtool command here: install iproute2 and ethtool")
    with ThreadPoolExecutor(1) as thread:
        try:
            thread.submit(unshare_network).result()
        except PermissionError as error:
            pytest.skip(f"{error}: run as root")
        yield lambda work: thread.submit(work).result()
