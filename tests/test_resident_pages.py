"""What the benchmark of the agent's memory rests on."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from resident_pages import resident_once_mib

TOLERANCE_MIB = 0.1
"""The pages that the kernel maps into each process (vdso)."""


@pytest.fixture
def idle() -> Iterator[list[int]]:
    """Two interpreters that do nothing."""
    command = [sys.executable, "-S", "-c", "import sys; print(flush=True); sys.stdin.read()"]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    yield [process.pid for process in processes]
    for process in processes:
        process.communicate()


def kernel_mib(pid: int, field: str) -> float:
    """As the kernel sums it up."""
    match = re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1]) / 1024


def test_of_one_process_it_is_the_resident_memory(idle: list[int]) -> None:
    assert resident_once_mib(idle[:1]) == pytest.approx(kernel_mib(idle[0], "Rss"), abs=TOLERANCE_MIB)


def test_what_two_share_counts_once(idle: list[int]) -> None:
    both, (one, other) = resident_once_mib(idle), (kernel_mib(pid, "Rss") for pid in idle)
    anonymous = sum(kernel_mib(pid, "Anonymous") for pid in idle)
    assert anonymous + 1 < both < one + other - 1, "an interpreter is more than 1 MiB"
    assert both == pytest.approx(one + kernel_mib(idle[1], "Anonymous"), abs=0.5), "both run the same program"
