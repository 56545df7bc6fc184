"""An exporter in a process of its own: scraped as Prometheus does it, and what it costs, children included."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil
from resident_pages import resident_once_mib

ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
START_SECONDS = 60.0
SERIES = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')
MIB = 1 << 20
Series = tuple[Mapping[str, str], float]


class Exporter:
    """One that runs."""

    def __init__(self, pid: int, port: int) -> None:
        self.process = psutil.Process(pid)
        self._port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def scrape(self, accept: str = ACCEPT) -> str:
        """As Prometheus does it: kept connection, OpenMetrics, gzip."""
        return zlib.decompress(self._fetch(accept), 16 + zlib.MAX_WBITS).decode()

    def timed(self) -> float:
        """Seconds of one scrape, from the request to the last byte of the answer."""
        began = time.perf_counter()
        self._fetch()
        return time.perf_counter() - began

    def wait(self) -> None:
        """Until it answers. Raises TimeoutError."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self._port)).close()
                return
            time.sleep(0.05)
        raise TimeoutError(f"nothing listens on port {self._port}")

    def cpu_seconds(self) -> float:
        """CPU time used by the process and the children that it has now, to the nanosecond, of all their threads,
        ended ones too (a process's clock as clock_getcpuclockid(3) numbers it)."""
        return sum(time.clock_gettime(~each.pid << 3 | 2) for each in self._family())

    def resident_mib(self) -> float:
        """Resident memory, children included; pages they share count for each."""
        return float(sum(each.memory_info().rss for each in self._family())) / MIB

    def resident_once_mib(self) -> float:
        """The same with pages they share counted once."""
        return resident_once_mib(each.pid for each in self._family())

    def proportional_mib(self) -> float:
        """Each page divided among all of the machine that share it."""
        return float(sum(each.memory_full_info().pss for each in self._family())) / MIB

    def open_files(self) -> int:
        """File descriptors, children included."""
        return sum(each.num_fds() for each in self._family())

    def _family(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def _fetch(self, accept: str = ACCEPT) -> bytes:
        self._connection.request("GET", "/metrics", headers={"Accept": accept, "Accept-Encoding": "gzip"})
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise OSError(f"the scrape failed: {answer.status} {body[:200]!r}")
        return body


def series(text: str, family: str) -> list[Series]:
    """The series of one family in a scrape."""
    return [
        (dict(LABEL.findall(match[2] or "")), float(match[3]))
        for match in SERIES.finditer(text)
        if match[1] == family
    ]


@contextlib.contextmanager
def paceline_agent(log: Path, flags: Sequence[str], environment: Mapping[str, str]) -> Iterator[Exporter]:
    """A real agent on a free port; what it says goes to `log`."""
    command = [sys.executable, "-m", "paceline_exporters", "agent", "--web.listen-address=127.0.0.1:0", *flags]
    with (
        log.open("w") as said,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=said, text=True, env={**os.environ, **environment}
        ) as process,
        _ended(process),
    ):
        assert process.stdout is not None
        match = re.search(r":(\d+)$", process.stdout.readline().strip())
        if match is None:
            raise OSError(f"the agent did not start: {log.read_text()}")
        yield Exporter(process.pid, int(match[1]))


@contextlib.contextmanager
def node_exporter(program: str, sysfs: Path) -> Iterator[Exporter]:
    """Prometheus's node_exporter with nothing but its InfiniBand collector."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    collectors = ["--collector.disable-defaults", "--collector.infiniband", f"--path.sysfs={sysfs}"]
    command = [program, f"--web.listen-address=127.0.0.1:{port}", *collectors]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process, _ended(process):
        exporter = Exporter(process.pid, port)
        exporter.wait()
        yield exporter


@contextlib.contextmanager
def _ended(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        process.kill()
