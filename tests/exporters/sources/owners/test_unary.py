"""Against a real gRPC server (grpcio's, another HTTP/2 than ours), and against sockets that are none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import podresources
import pytest
from kubelet import Kubelet

from paceline_exporters.sources.owners.errors import REASONS, AskError
from paceline_exporters.sources.owners.unary import MOST_BYTES, call

LIST = "/v1.PodResourcesLister/List"


def reason(path: Path, method: str = LIST, deadline_seconds: float = 60.0) -> str:
    with pytest.raises(AskError) as failed:
        call(path, method, deadline_seconds)
    assert failed.value.reason in REASONS
    return failed.value.reason


def padded(size: int) -> bytes:
    """An answer of so many bytes, all of them a pod's name, and its tag and lengths."""
    return podresources.pods({"name": "p" * size})


@contextmanager
def server(path: Path, serve: Callable[[socket.socket], object]) -> Iterator[None]:
    """Something that is no gRPC server: what it does with one connection is the test's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()

        def accept() -> None:
            connection, _ = listening.accept()
            with connection:
                serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield
        thread.join()


def test_an_answer_comes_whole(kubelet: Kubelet) -> None:
    kubelet.start()
    for data in (b"", padded(10), padded(70_000), padded(MOST_BYTES - 100)):
        kubelet.answer(data)
        assert call(kubelet.socket, LIST, 60.0) == data


@pytest.mark.parametrize("size", [MOST_BYTES + 1, 5 * 2**20])
def test_an_answer_that_is_too_large_is_refused(kubelet: Kubelet, size: int) -> None:
    kubelet.start()
    kubelet.answer(padded(size))
    assert reason(kubelet.socket) == "too_large"


@pytest.mark.parametrize("status", ["UNAVAILABLE", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED"])
def test_a_status_is_an_error_with_its_text(kubelet: Kubelet, status: str) -> None:
    kubelet.start()
    kubelet.answer(fail={"List": status})
    with pytest.raises(AskError, match="as the test wants it: 100 %") as failed:
        call(kubelet.socket, LIST, 60.0)
    assert failed.value.reason == "status"


def test_an_unknown_method_is_a_status(kubelet: Kubelet) -> None:
    kubelet.start()
    assert reason(kubelet.socket, "/v1.PodResourcesLister/Nothing") == "status"


def test_a_slow_answer_ends_at_the_deadline(kubelet: Kubelet) -> None:
    kubelet.start()
    kubelet.answer(b"", delay_seconds=300)
    assert reason(kubelet.socket, deadline_seconds=0.2) == "deadline"


def test_no_socket_and_a_socket_without_a_server(kubelet: Kubelet) -> None:
    assert reason(kubelet.socket) == "missing"
    kubelet.start()
    kubelet.kill()
    assert kubelet.socket.exists()
    assert reason(kubelet.socket) == "refused"


def test_a_path_that_no_socket_can_have(tmp_path: Path) -> None:
    assert reason(tmp_path / ("long" * 50)) == "io"


def test_a_server_that_breaks_the_protocol(root: Path) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(2**16)
        connection.sendall(bytes(9))  # an HTTP/2 frame of data, of stream 0: not allowed

    with server(root / "odd.sock", serve):
        assert reason(root / "odd.sock") == "protocol"


def test_a_server_that_hangs_up(root: Path) -> None:
    with server(root / "short.sock", lambda connection: connection.recv(1)):
        assert reason(root / "short.sock") == "io"


def test_a_server_that_says_nothing(root: Path) -> None:
    done = threading.Event()
    with server(root / "mute.sock", lambda _: done.wait(60)):
        assert reason(root / "mute.sock", deadline_seconds=0.2) == "deadline"
        done.set()
