"""A kubelet's pod-resources API in a process of its own: a real gRPC server (grpcio) on a Unix socket.

Run as a program with the socket's path it obeys one JSON object per line: what to answer from now on.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

SERVICE = "v1.PodResourcesLister"
METHODS = ("List", "GetAllocatableResources")


class Kubelet:
    """The process, seen from a test."""

    def __init__(self, root: Path) -> None:
        self.socket = root / "var/lib/kubelet/pod-resources/kubelet.sock"
        self._process: subprocess.Popen[str] | None = None
        self._settings: dict[str, Any] = {}

    def start(self) -> None:
        """Serve, as told before."""
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, __file__, str(self.socket)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._wait()
        self.answer()

    def answer(self, listed: bytes | None = None, allocatable: bytes | None = None, **settings: Any) -> None:
        """From now on. `fail`: method -> name of a gRPC status; `delay_seconds`: before each answer."""
        for method, data in zip(METHODS, (listed, allocatable), strict=True):
            if data is not None:
                self._settings[method] = base64.b64encode(data).decode()
        self._settings = {**self._settings, "fail": {}, "delay_seconds": 0, **settings}
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(json.dumps(self._settings) + "\n")
            self._process.stdin.flush()
            self._wait()

    def kill(self) -> None:
        """SIGKILL: its socket stays behind."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _wait(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == "ready", "the kubelet did not start"


def main(path: str) -> None:
    """Serve until standard input closes."""
    import grpc

    settings: dict[str, Any] = {"fail": {}, "delay_seconds": 0}
    gone = threading.Event()

    def answer(method: str, context: grpc.ServicerContext) -> bytes:
        gone.wait(settings["delay_seconds"])
        if method in settings["fail"]:
            context.abort(getattr(grpc.StatusCode, settings["fail"][method]), "as the test wants it: 100 %")
        return base64.b64decode(settings.get(method, ""))

    def handler(method: str) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(lambda request, context: answer(method, context))

    Path(path).unlink(missing_ok=True)
    server = grpc.server(ThreadPoolExecutor(4))
    handlers = {method: handler(method) for method in METHODS}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(f"unix:{path}")
    server.start()
    print("ready", flush=True)
    for line in sys.stdin:
        settings.update(json.loads(line))
        print("ready", flush=True)
    gone.set()
    server.stop(None).wait()


if __name__ == "__main__":
    main(sys.argv[1])
