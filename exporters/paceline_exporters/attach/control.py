"""Lets whoever may read this process's memory anyway (its user, root) ask where it stands, while it stands still.

Beside the ring lie `UUID.ask`, a stream socket that takes one word and answers until it closes, and `UUID.stuck`,
a datagram socket that answers with a traceback in the file `UUID.stacks`.

A thread of ours waits on the first and asks `faulthandler`: that needs the GIL, which a rank that waits in a
collective has released, and with the GIL in hand no frame moves while it is read. A rank that hangs in C with the
GIL held never lets that thread run. For it there is the second: the kernel signals (fcntl(2), F_SETSIG) this one
thread, and faulthandler's C handler writes all stacks without the GIL. The signal is a real-time one that nothing
here handles, goes to no other thread, so that it interrupts none of the job's system calls, and is asked for only
when the first socket stays silent: then nobody else changes Python's frames either.

Not torch's own `_WorkerServer`: its traceback takes the GIL too (torch 2.13, measured), and it adds a thread per
core and two warnings to every rank.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import struct
import sys
from pathlib import Path
from typing import Any

from .notice import failed

ASK, STUCK, STACKS = ".ask", ".stuck", ".stacks"
"""Suffixes of what lies beside a ring, in place of `.ring`."""
TRACEBACK, FLIGHT_RECORDER = b"traceback", b"flight_recorder"
"""Words that can be asked: all threads' Python stacks as text, torch's flight recorder as JSON."""

_CLIENT_SECONDS = 2.0
_F_SETSIG, _F_SETOWN_EX = 10, 15
"""Linux, asm-generic/fcntl.h."""
_OWNER = struct.Struct("@ii")
"""struct f_owner_ex: type (F_OWNER_TID is 0), thread id."""


def beside(ring: Path) -> list[Path]:
    """What lies beside `ring` for as long as its process lives."""
    return [ring.with_suffix(suffix) for suffix in (ASK, STUCK, STACKS)]


def start(ring: Path) -> None:
    """Answer from now on; a failure is said once and never raised.

    Not in a process of one thread, which may fork: Python warns (since 3.12) whoever forks with several.
    """
    try:
        if len(os.listdir("/proc/self/task")) > 1:
            _Control(ring).start()
    except Exception as error:  # telemetry must not stop training
        failed("answering where a rank stands", error)


class _Control:
    def __init__(self, ring: Path) -> None:
        import socket

        self._ask, self._stuck, stacks = beside(ring)
        self._paths = (self._ask, self._stuck, stacks)
        self._pid = os.getpid()
        atexit.register(self._remove)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_APPEND
        self._stacks = os.open(stacks, flags, 0o600)
        self._poked = _bound(self._stuck, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._listener = _bound(self._ask, socket.SOCK_STREAM)

    def start(self) -> None:
        import threading

        self._listener.listen(16)
        thread = threading.Thread(target=self._serve, name="paceline-control", daemon=True)
        thread.start()
        try:
            _signal_thread(thread.native_id, self._poked.fileno(), self._stacks)
        except (OSError, ValueError, RuntimeError) as error:  # a sandbox's kernel may know no F_SETSIG
            failed("answering while the interpreter is stuck", error)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                failed("answering where a rank stands", error)
                return
            with connection:
                self._answer(connection)

    def _answer(self, connection: Any) -> None:
        from socket import MSG_NOSIGNAL  # jobs restore SIGPIPE, which would end them when a client leaves

        try:
            _drain(self._poked)
            connection.settimeout(_CLIENT_SECONDS)
            word = connection.recv(64).strip()
            answer = {TRACEBACK: self._traceback, FLIGHT_RECORDER: _flight_recorder}.get(word)
            if answer is not None:
                connection.sendall(answer(), MSG_NOSIGNAL)
        except OSError:  # the client left, or waits longer than we do: its own affair
            return
        except Exception as error:  # telemetry must not stop training
            failed("telling where a rank stands", error)

    def _traceback(self) -> bytes:
        import faulthandler

        # Into a file, for it is written with the GIL in hand: a client that does not read must not hold it.
        os.ftruncate(self._stacks, 0)
        faulthandler.dump_traceback(self._stacks, all_threads=True)
        return os.pread(self._stacks, os.fstat(self._stacks).st_size, 0)

    def _remove(self) -> None:
        if os.getpid() != self._pid:  # a forked child that ends in order
            return
        for path in self._paths:
            with contextlib.suppress(OSError):  # gone, or never made
                path.unlink()


def _bound(path: Path, kind: int) -> Any:
    """A Unix socket at `path`, for its owner only, however long the path (a socket's own holds 108 bytes)."""
    import socket

    made = socket.socket(socket.AF_UNIX, kind)
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        made.bind(f"/proc/self/fd/{directory}/{path.name}")
        path.chmod(0o600)
    except BaseException:
        made.close()
        raise
    finally:
        os.close(directory)
    return made


def _signal_thread(thread: int | None, poked: int, stacks: int) -> None:
    """What arrives at `poked` makes faulthandler write all stacks to `stacks`: in `thread`, without the GIL."""
    import faulthandler

    number = _unused_signal()
    faulthandler.register(number, file=stacks, all_threads=True, chain=False)
    fcntl.fcntl(poked, _F_SETSIG, number)
    fcntl.fcntl(poked, _F_SETOWN_EX, _OWNER.pack(0, thread))
    fcntl.fcntl(poked, fcntl.F_SETFL, fcntl.fcntl(poked, fcntl.F_GETFL) | os.O_ASYNC)


def _unused_signal() -> int:
    """The highest real-time signal that this process neither handles, ignores nor blocks, also in C."""
    import signal

    taken = 0
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(("SigBlk:", "SigIgn:", "SigCgt:")):
            taken |= int(line.split()[1], 16)
    for number in range(signal.SIGRTMAX, signal.SIGRTMIN, -1):
        if not taken >> (number - 1) & 1:
            return number
    raise ValueError("all real-time signals are taken")


def _drain(poked: Any) -> None:
    with contextlib.suppress(BlockingIOError):  # empty
        while True:
            poked.recv(1)


def _flight_recorder() -> bytes:
    """Empty where this torch has none."""
    distributed = sys.modules.get("torch._C._distributed_c10d")
    dump = getattr(distributed, "_dump_fr_trace_json", None)
    if dump is None:
        return b""
    told = dump()
    return told if isinstance(told, bytes) else str(told).encode()
