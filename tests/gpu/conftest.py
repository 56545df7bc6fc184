"""Tests for a machine with a real NVIDIA GPU: `make gpu`. Elsewhere they are skipped, and say so."""

from __future__ import annotations

import shutil
import subprocess

import pytest


@pytest.fixture(scope="session", autouse=True)
def gpu() -> None:
    """Skips where there is none."""
    if shutil.which("nvidia-smi") is None:
        pytest.skip("no nvidia-smi: these tests need an NVIDIA GPU")
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    if listed.returncode != 0 or "GPU 0" not in listed.stdout:
        pytest.skip(f"nvidia-smi finds no GPU: {listed.stdout.strip()} {listed.stderr.strip()}")
