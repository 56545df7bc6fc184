"""A node of the test's own, and a real kubelet API on it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubelet import Kubelet
from node_tree import NodeTree

from paceline_exporters.sources.owners import kubelet as kubelet_module


@pytest.fixture
def root() -> Iterator[Path]:
    """A short path: a Unix socket's has 107 characters at most."""
    with tempfile.TemporaryDirectory(prefix="pl-") as directory:
        yield Path(directory)


@pytest.fixture
def node(root: Path) -> NodeTree:
    return NodeTree(root)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no kubelet that hangs."""
    monkeypatch.setattr(kubelet_module, "CALL_SECONDS", 30.0)


@pytest.fixture
def kubelet(root: Path) -> Iterator[Kubelet]:
    """Not started yet."""
    one = Kubelet(root)
    yield one
    one.kill()
