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
    port = _free_port()
    (root / "prometheus.yml").write_text(configuration)
    command = [PROGRAM, f"--config.file={root}/prometheus.yml", f"--storage.tsdb.path={root}/tsdb"]
    log = root / "prometheus.log"
    with log.open("wb") as said:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=said, stderr=said)
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def _free_port() -> int:
    """A port that nobody has now; Prometheus cannot take one by itself and say which."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise AssertionError(log.read_text())
