"""Where a rank stands: its Python stacks and torch's flight recorder, else what the kernel tells of its threads.

The rank is asked through the sockets beside its ring (`attach.control`). Whoever can write the ring directory can
put others there, so none is trusted: it has to belong to the ring's owner, and has a deadline and a size.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paceline_exporters.attach import control
from paceline_exporters.rings import RingError, RingReader

ANSWER_SECONDS = 2.0
"""A rank whose interpreter runs answers in milliseconds."""
QUIET_SECONDS = 0.2
"""A traceback that has not grown for so long is complete."""
MOST_THREADS = 256
KERNEL_FILES = ("wchan", "syscall", "stack")
"""Of /proc/PID/task/TID; the latter two need the right to trace the process, or root."""
STATUS_FIELDS = ("State", "SigBlk", "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")

_OURS = "/attach/control.py"
_FRAME = re.compile(r'^ +File "(.*)", line (\d+) in (.*)$')


@dataclass(frozen=True)
class Standing:
    """What one rank told, or what was told of it."""

    how: str
    """python: its stacks; stuck: its stacks, though it holds its interpreter's lock; kernel: of its threads only;
    nothing."""
    stacks: str
    """Text for people."""
    flight_recorder: Any = None
    """torch's JSON, decoded; None where it was not told."""

    @property
    def frames(self) -> tuple[str, ...]:
        """Of the main thread, `function (file:line)`, innermost first; empty where they are unknown."""
        return _main_thread(self.stacks) if self.how in ("python", "stuck") else ()


def ask(ring: Path, procfs: Path, seconds: float, size: int) -> Standing:
    """Where the rank of `ring` stands, within about `seconds` and with `size` bytes of either kind at most.

    Raises OSError where not even the kernel tells.
    """
    deadline = time.monotonic() + seconds
    pid = _holder(ring)
    with contextlib.suppress(OSError):  # it is stopped, its interpreter is stuck, or it has no sockets
        stacks = _answer(ring, control.TRACEBACK, min(deadline, time.monotonic() + ANSWER_SECONDS), size)
        return Standing("python", _text(stacks), _flight_recorder(ring, deadline, size))
    if pid is None:
        return Standing("nothing", "The rank does not answer, and its process cannot be seen from here.\n")
    kernel = _kernel(procfs / str(pid), size)
    # A stopped process would write its stacks when it is continued, with all its threads at work.
    if not re.search(r"^State:\s+[Tt]", kernel, re.MULTILINE):
        with contextlib.suppress(OSError):  # the kernel's word is what there is
            stuck = _text(_poked(ring, min(deadline, time.monotonic() + ANSWER_SECONDS), size))
            return Standing("stuck", f"{stuck}\n{kernel}"[:size])
    return Standing("kernel", kernel)


def _holder(ring: Path) -> int | None:
    try:
        reader = RingReader.open(ring)
    except RingError:
        return None
    try:
        return reader.holder()
    finally:
        reader.close()


def _answer(ring: Path, word: bytes, deadline: float, size: int) -> bytes:
    """What the socket beside the ring says to `word`; raises OSError, TimeoutError among them."""
    with _beside(ring, control.ASK, stat.S_ISSOCK) as path, socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(_left(deadline))
        asking.connect(path)
        asking.sendall(word + b"\n")
        answer = bytearray()
        while len(answer) <= size:
            asking.settimeout(_left(deadline))
            part = asking.recv(65536)
            if not part:
                break
            answer += part
    if not answer:
        raise ConnectionError(f"{ring}: no answer to {word.decode()}")
    return bytes(answer)


def _flight_recorder(ring: Path, deadline: float, size: int) -> Any:
    """With the latest of its entries, as many as fit `size` bytes of JSON; None where it is not told."""
    try:
        told = json.loads(_answer(ring, control.FLIGHT_RECORDER, deadline, 16 * size))
    except (OSError, ValueError, RecursionError):  # the job has no torch.distributed, or what came is not JSON
        return None
    entries = told.get("entries") if isinstance(told, dict) else None
    while isinstance(entries, list) and entries and len(json.dumps(told)) > size:
        entries = told["entries"] = entries[len(entries) // 2 + 1 :]
    return told if len(json.dumps(told)) <= size else None


def _poked(ring: Path, deadline: float, size: int) -> bytes:
    """The traceback that is written without the interpreter; raises OSError, TimeoutError among them."""
    with _beside(ring, control.STACKS, stat.S_ISREG) as path:
        before = os.stat(path).st_size  # noqa: PTH116 - of an open descriptor
        _poke(ring)
        seen, since = before, time.monotonic()
        while seen == before or time.monotonic() < since + QUIET_SECONDS:
            time.sleep(min(0.02, _left(deadline)))
            now = os.stat(path).st_size  # noqa: PTH116 - of an open descriptor
            if now != seen:
                seen, since = now, time.monotonic()
        with open(path, "rb") as written:  # noqa: PTH123 - of an open descriptor
            written.seek(before)
            return written.read(size)


def _poke(ring: Path) -> None:
    kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
    with _beside(ring, control.STUCK, stat.S_ISSOCK) as path, socket.socket(socket.AF_UNIX, kind) as poking:
        poking.sendto(b"?", path)


@contextlib.contextmanager
def _beside(ring: Path, suffix: str, expected: Any) -> Iterator[str]:
    """A path to the very file that was checked: of the expected kind, and the ring owner's."""
    descriptor = os.open(ring.with_suffix(suffix), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not expected(status.st_mode) or status.st_uid != ring.lstat().st_uid:
            raise PermissionError(f"{ring.with_suffix(suffix)}: not what the ring's owner put there")
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0.0:
        raise TimeoutError("the rank does not answer")
    return left


def _kernel(process: Path, size: int) -> str:
    """Raises OSError where the process is gone."""
    tasks = sorted((process / "task").iterdir(), key=lambda task: int(task.name))
    text = f"The kernel on the {len(tasks)} threads of process {process.name}:\n"
    return (text + "".join(map(_task, tasks[:MOST_THREADS])))[:size]


def _task(task: Path) -> str:
    status = dict(line.split(":", 1) for line in _read(task / "status").splitlines() if ":" in line)
    lines = [f"{name}:\t{status[name].strip()}" for name in STATUS_FIELDS if name in status]
    for name in KERNEL_FILES:
        text = _read(task / name).strip()
        lines += [f"{name}:\t" + text.replace("\n", "\n\t")] if text else []
    return "\n".join([f"\nThread {task.name} {_read(task / 'comm').strip()}", *lines, ""])


def _read(path: Path) -> str:
    """Empty where it is gone meanwhile, or not for us."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _text(told: bytes) -> str:
    return told.decode(errors="replace")


def _main_thread(stacks: str) -> tuple[str, ...]:
    """faulthandler lists the threads from the newest to the oldest, frames innermost first."""
    threads: list[list[str]] = []
    for line in stacks.splitlines():
        frame = _FRAME.match(line)
        if "Thread 0x" in line or line.startswith("Current thread"):
            threads.append([])
        elif frame and threads:
            path, number, function = frame.groups()
            threads[-1].append("" if path.endswith(_OURS) else f"{function} ({_short(path)}:{number})")
    others = [frames for frames in threads if frames and "" not in frames]
    return tuple(others[-1]) if others else ()


def _short(path: str) -> str:
    return "/".join(Path(path).parts[-2:]) if "site-packages" in path else Path(path).name
