"""A real Prometheus (Debian's package), as a context."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

PROGRAM = shutil.which("prometheus")
"""None where it is not installed."""
PATIENCE_SECONDS = 60.0


@contextlib.contextmanager
def prometheus(root: Path, configuration: str) -> Iterator[str]:
    """Runs it in `root` until the context is left; gives its URL."""
    assert PROGRAM is not None
    (root / "prometheus.yml").write_text(configuration)
    command = [PROGRAM, f"--config.file={root}/prometheus.yml", f"--storage.tsdb.path={root}/tsdb"]
    process, url = _start(command, root / "prometheus.log")
    try:
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def _start(command: list[str], log: Path) -> tuple[subprocess.Popen[bytes], str]:
    """The process and its URL. Somebody may take the port just before it does: then another is tried."""
    for _ in range(3):
        address = f"127.0.0.1:{_free_port()}"
        with log.open("wb") as said:
            process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=said, stderr=said)
        if _is_ready(f"http://{address}", process):
            return process, f"http://{address}"
        process.kill()
        process.wait()
    raise AssertionError(log.read_text())


def _free_port() -> int:
    """A port that nobody has now; Prometheus cannot take one by itself and say which."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_ready(url: str, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    return False
