"""Resident memory of several processes together, each page counted once."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
# Of an entry of /proc/PID/pagemap (Linux, Documentation/admin-guide/mm/pagemap.rst).
_ENTRY = struct.Struct("<Q")
_PRESENT, _OF_FILE = 1 << 63, 1 << 61
# Address range, offset, device, inode of a line of /proc/PID/maps (proc(5)).
_MAPPING = re.compile(r"(\w+)-(\w+) \S+ (\w+) (\S+) (\d+)")


def resident_once_mib(pids: Iterable[int]) -> float:
    """A page of a file that several of these processes map counts once: RSS counts it for each of them, and PSS
    divides it by all processes of the machine. Their own pages are taken to be their own: of processes that
    forked from each other, those that are still shared count for each."""
    own, files = 0, set()
    for pid in pids:
        for file_page in _resident(Path("/proc") / str(pid)):
            if file_page is None:
                own += 1
            else:
                files.add(file_page)
    return (own + len(files)) * PAGE / 2**20


def _resident(process: Path) -> Iterator[tuple[str, str, int] | None]:
    """Of each resident page the device, inode and number within the file; None for one of no file."""
    with (process / "pagemap").open("rb", buffering=0) as pagemap:
        for line in (process / "maps").read_text().splitlines():
            match = _MAPPING.match(line)
            if match is None or "[v" in line:  # vsyscall and vdso are the kernel's
                continue
            start, end, offset = (int(number, 16) // PAGE for number in match.group(1, 2, 3))
            pagemap.seek(start * _ENTRY.size)
            entries = pagemap.read((end - start) * _ENTRY.size)
            for number, (entry,) in enumerate(_ENTRY.iter_unpack(entries)):
                if entry & _PRESENT:
                    yield (match[4], match[5], offset + number) if entry & _OF_FILE else None
