"""Exports that a real shell reads back."""

from __future__ import annotations

import subprocess

from paceline_tuner.export import as_shell_exports
from paceline_tuner.study.compose import Configuration


def test_a_shell_reads_the_same_values_back() -> None:
    env = {"NCCL_ALGO": "allreduce:^tree;broadcast:ring", "OMP_NUM_THREADS": "2", "GLOO_X": "it's $HOME `x`\n"}
    script = (
        as_shell_exports(Configuration(env=env)) + 'printf "%s|%s|%s" "$NCCL_ALGO" "$OMP_NUM_THREADS" "$GLOO_X"'
    )
    printed = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=True).stdout
    assert printed.split("|") == [env["NCCL_ALGO"], "2", env["GLOO_X"]]


def test_nothing_to_export() -> None:
    assert as_shell_exports(Configuration(arguments={"bf16": True})) == ""
