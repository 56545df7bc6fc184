from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import podresources
import pytest
from kubelet import Kubelet as Server
from podresources import allocatable, pod, pods

from paceline_exporters.sources.owners import unary
from paceline_exporters.sources.owners.errors import Errors
from paceline_exporters.sources.owners.kubelet import KEEP_SECONDS, Given, Kubelet

GPU, RDMA = "nvidia.com/gpu", "rdma/hca"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def another_user() -> Iterator[None]:
    """Root may enter every directory, so that it is somebody else for a while."""
    own = os.geteuid()
    os.seteuid(65534 if own == 0 else own)
    try:
        yield
    finally:
        os.seteuid(own)


def counted(errors: Errors) -> dict[tuple[str, str], int]:
    return {key: count for key, count in errors.counts.items() if count}


def test_elsewhere_nothing_is_asked_and_nothing_is_wrong(root: Path) -> None:
    errors = Errors()
    kubelet = Kubelet(root, errors)
    assert kubelet.ask() is None
    assert not kubelet.present
    assert not errors.counts


def test_what_pods_hold_and_what_the_node_has(kubelet: Server, root: Path) -> None:
    kubelet.start()
    kubelet.answer(
        pods(
            pod("a", {GPU: ["GPU-1", "GPU-2"], RDMA: ["17"]}), pod("b", {}), pod("c", {RDMA: ["3"]}, "other", "x")
        ),
        allocatable({GPU: ["GPU-1", "GPU-2", "GPU-3"], RDMA: ["3", "17"]}),
    )
    errors = Errors()
    asked = Kubelet(root, errors)
    answer = asked.ask()
    assert asked.present
    assert asked.up
    assert answer is not None
    assert answer.given == (
        Given("ml", "a", "train", GPU, ("GPU-1",)),
        Given("ml", "a", "train", GPU, ("GPU-2",)),
        Given("ml", "a", "train", RDMA, ("17",)),
        Given("other", "c", "x", RDMA, ("3",)),
    )
    assert answer.allocatable == {GPU: 3, RDMA: 2}
    assert not counted(errors)
    assert errors.counts["kubelet", "deadline"] == 0  # it begins at 0


def test_devices_allocated_dynamically(kubelet: Server, root: Path) -> None:
    claimed = {
        "driver_name": "gpu.nvidia.com",
        "pool_name": "node-a",
        "device_name": "gpu-3",
        "cdi_devices": [{"name": "k8s.gpu.nvidia.com/claim=1234-gpu-3"}, {"name": "nvidia.com/gpu=GPU-5"}],
    }
    container = {"name": "train", "dynamic_resources": [{"claim_name": "one", "claim_resources": [claimed]}]}
    kubelet.start()
    kubelet.answer(podresources.pods({"name": "a", "namespace": "ml", "containers": [container]}))
    answer = Kubelet(root, Errors()).ask()
    assert answer is not None
    assert answer.given == (Given("ml", "a", "train", "gpu.nvidia.com", ("gpu-3", "1234-gpu-3", "GPU-5")),)


def test_an_old_kubelet_that_does_not_tell_what_it_has(kubelet: Server, root: Path) -> None:
    kubelet.start()
    kubelet.answer(pods(pod("a", {GPU: ["GPU-1"]})), fail={"GetAllocatableResources": "UNIMPLEMENTED"})
    errors = Errors()
    asked = Kubelet(root, errors)
    answer = asked.ask()
    assert answer is not None
    assert len(answer.given) == 1
    assert answer.allocatable == {}
    assert asked.up
    assert counted(errors) == {("kubelet_allocatable", "status"): 1}


def test_an_answer_outlives_one_failure_and_no_more(
    kubelet: Server, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, errors = Clock(), Errors()
    asked = Kubelet(root, errors, clock)
    kubelet.start()
    kubelet.answer(pods(pod("a", {GPU: ["GPU-1"]})))
    first = asked.ask()
    assert first is not None
    kubelet.kill()
    with caplog.at_level(logging.WARNING):
        clock.now += 5.0
        assert asked.ask() is first
        assert not asked.up
        clock.now += 5.0
        assert asked.ask() is None
        assert asked.ask() is None
    assert counted(errors) == {("kubelet", "refused"): 3}
    assert len(caplog.records) == 1
    kubelet.start()
    assert asked.ask() == first
    assert asked.up
    kubelet.kill()
    clock.now += KEEP_SECONDS
    with caplog.at_level(logging.WARNING):
        assert asked.ask() is None
    assert len(caplog.records) == 2  # another outage


def test_a_directory_that_is_not_ours(kubelet: Server, root: Path) -> None:
    kubelet.start()
    root.chmod(0o755)
    kubelet.socket.parent.chmod(0)
    errors = Errors()
    assert "call" in vars(unary)  # imported while this user can read it
    with another_user():
        assert Kubelet(root, errors).ask() is None
    kubelet.socket.parent.chmod(0o700)
    assert counted(errors) == {("kubelet", "permission"): 1}


def test_a_kubelet_that_went_away_and_took_its_socket(kubelet: Server, root: Path) -> None:
    kubelet.start()
    kubelet.kill()
    kubelet.socket.unlink()
    errors = Errors()
    asked = Kubelet(root, errors)
    assert asked.ask() is None
    assert asked.present
    assert counted(errors) == {("kubelet", "missing"): 1}


def test_an_answer_that_is_no_message(kubelet: Server, root: Path) -> None:
    kubelet.start()
    kubelet.answer(b"\xff" * 20)
    errors = Errors()
    assert Kubelet(root, errors).ask() is None
    assert counted(errors) == {("kubelet", "protocol"): 1}
